"""Tokens per second by PyJWT, to a dict of claims, its key parsed; prints one number. Arguments: algorithm, tokens."""

import json
import sys
import time
from pathlib import Path

import jwt

alg = sys.argv[1]
told = json.loads(Path(sys.argv[2]).read_text("utf-8"))
key = jwt.PyJWK(told[alg]["jwk"]).key
tokens = told[alg]["tokens"]


def check(token):
    return jwt.decode(token, key, algorithms=[alg], audience=told["audience"], issuer=told["issuer"], leeway=30)


for token in tokens[: len(tokens) // 5]:
    assert check(token)["azp"] == "bench-client"
began = time.perf_counter()
for token in tokens:
    check(token)
print(json.dumps(len(tokens) / (time.perf_counter() - began)))
