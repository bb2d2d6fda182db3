"""Signed assertions: rows G-14, L-19 and L-20; a second library reads what we sign."""

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc.jwk import RSAKey

from valetkey.errors import InvalidSetting
from valetkey.protocol.assertion import LIFE, client_assertion, grant_assertion, signing_key
from valetkey.secret import Secret

NOW = 1_800_000_000.7
RSA = rsa.generate_private_key(65_537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def pem(private) -> Secret:
    kept = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Secret(kept.decode())


def read(text, private, algorithm):
    """The header and the claims, by PyJWT."""
    options: Any = {"verify_exp": False, "verify_aud": False, "verify_iat": False}
    claims = jwt.decode(text, private.public_key(), algorithms=[algorithm], options=options)
    return jwt.get_unverified_header(text), claims


@pytest.mark.requirement("G-14")
def test_a_client_assertion_is_signed_by_the_key_s_own_algorithm_and_says_what_it_has_to():
    ps256 = json.dumps({**RSAKey.import_key(RSA).as_dict(private=True), "alg": "PS256", "kid": "of-the-jwk"})
    for text, private, algorithm, kid in (
        (pem(RSA), RSA, "RS256", "k1"),
        (pem(EC), EC, "ES256", "k1"),
        (pem(ED), ED, "EdDSA", "k1"),
        (Secret(ps256), RSA, "PS256", "of-the-jwk"),
    ):
        key = signing_key(text, kid="" if algorithm == "PS256" else "k1", where="auth.x.private_key")
        made = client_assertion(key, client_id="id-1", audience="https://as.test", now=NOW, jti="j-1")
        header, claims = read(made, private, algorithm)
        assert header == {"alg": algorithm, "typ": "JWT", "kid": kid}
        assert claims == {
            "iss": "id-1",
            "sub": "id-1",
            "aud": "https://as.test",
            "iat": int(NOW),
            "exp": int(NOW) + LIFE,
            "jti": "j-1",
        }
    assert LIFE <= 60


def test_a_grant_assertion_leaves_out_what_there_is_none_of():
    key = signing_key(pem(EC), where="x")
    full = grant_assertion(key, issuer="a@p", subject="u", audience="https://t", scope="x y", now=NOW, jti="j")
    bare = grant_assertion(key, issuer="a@p", subject="", audience="https://t", scope="", now=NOW, jti="j")
    assert repr(full) == "***"
    times = {"iat": int(NOW), "exp": int(NOW) + LIFE, "jti": "j"}
    claims = {"iss": "a@p", "aud": "https://t", **times}
    assert read(full.reveal(), EC, "ES256")[1] == {**claims, "sub": "u", "scope": "x y"}
    assert read(bare.reveal(), EC, "ES256") == ({"alg": "ES256", "typ": "JWT"}, claims)


def test_no_key_that_nobody_should_sign_with_and_no_word_of_it_in_the_error():
    weak = rsa.generate_private_key(65_537, 1024)  # noqa: S505  # that is the point
    locked = EC.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"pw")
    )
    public = json.dumps(RSAKey.import_key(RSA.public_key()).as_dict(private=False))
    wrong = json.dumps({**RSAKey.import_key(RSA).as_dict(private=True), "alg": "ES256"})
    symmetric = json.dumps({"kty": "oct", "k": "c2VjcmV0LWNhbmFyeS1vZi0zMi1ieXRlcy1hbmQtbW9yZQ"})
    other_curve = pem(ec.generate_private_key(ec.SECP384R1()))
    for text in (pem(weak), Secret(locked.decode()), Secret(public), Secret(wrong), Secret(symmetric), other_curve):
        with pytest.raises(InvalidSetting, match=r"auth\.x\.private_key cannot be used") as caught:
            signing_key(text, where="auth.x.private_key")
        assert text.reveal()[40:80] not in str(caught.value)
    for bad in ("", "{", "-----BEGIN PRIVATE KEY-----", '{"kty": ["RSA"]}', "{}", "[1]", '{"kty":"EC","crv":"P-256"}'):
        with pytest.raises(InvalidSetting):
            signing_key(Secret(bad), where="x")
