"""Bare signature checks per second by `cryptography`, all taken apart beforehand; prints one number. As the others."""

import base64
import json
import sys
import time
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key

alg = sys.argv[1]
told = json.loads(Path(sys.argv[2]).read_text("utf-8"))
key = load_pem_public_key(told[alg]["pem"].encode())
how = (padding.PKCS1v15(), hashes.SHA256()) if alg == "RS256" else (ec.ECDSA(hashes.SHA256()),)
parted = []
for token in told[alg]["tokens"]:
    signed, _, end = token.rpartition(".")
    octets = base64.urlsafe_b64decode(end + "==")
    if alg == "ES256":
        octets = encode_dss_signature(int.from_bytes(octets[:32], "big"), int.from_bytes(octets[32:], "big"))
    parted.append((octets, signed.encode()))
for octets, signed in parted[: len(parted) // 5]:
    key.verify(octets, signed, *how)
began = time.perf_counter()
for octets, signed in parted:
    key.verify(octets, signed, *how)
print(json.dumps(len(parted) / (time.perf_counter() - began)))
