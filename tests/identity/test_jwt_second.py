"""J-48: PyJWT as a second opinion. What it takes and we do not is listed, with a reason."""

import base64
import json
from typing import Any

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.identity.jwt_kit import AUDIENCE, ISSUER, KEYS, NOW, OTHER_RSA, RSA, b64, claims, raw, ready, token
from valetkey.errors import Unauthenticated
from valetkey.protocol import jwt

RULES = jwt.Rules(algorithms=frozenset(KEYS), issuer=ISSUER, audiences=frozenset({AUDIENCE}))
HEAD = '{"alg":"RS256","typ":"at+jwt"}'
TEXT = json.dumps(claims())
GOOD = token()
PARTS = GOOD.split(".")
STRANGER = rsa.generate_private_key(65_537, 2048)


def ours(text: str) -> bool:
    try:
        jwt.verify(text, *(ready(alg) for alg in KEYS), rules=RULES, now=NOW)
    except Unauthenticated:
        return False
    return True


@pytest.fixture
def theirs(monkeypatch):
    """PyJWT's verdict, at our time."""

    class Now:
        @staticmethod
        def now(tz: object = None) -> Any:
            return _Stamp

    class _Stamp:
        @staticmethod
        def timestamp() -> float:
            return NOW

    monkeypatch.setattr("jwt.api_jwt.datetime", Now)

    def verdict(text: str) -> bool:
        try:
            header = pyjwt.get_unverified_header(text)
            key = KEYS[header["alg"]].public_key()
            pyjwt.decode(
                text,
                key,
                algorithms=[header["alg"]],
                issuer=ISSUER,
                audience=AUDIENCE,
                leeway=30,
                options={"require": ["exp", "iss", "sub", "aud"]},
            )
        except (pyjwt.PyJWTError, KeyError, ValueError, TypeError, RecursionError):
            return False
        return True

    return verdict


def _cases() -> dict[str, str]:
    changed: dict[str, dict[str, Any]] = {
        "no exp": {"exp": ...},
        "expired": {"exp": NOW - 31},
        "just not": {"exp": NOW - 29},
        "exp a text": {"exp": str(NOW + 600)},
        "exp true": {"exp": True},
        "exp null": {"exp": None},
        "exp a list": {"exp": [NOW]},
        "nbf later": {"nbf": NOW + 31},
        "iat later": {"iat": NOW + 31},
        "nbf a text": {"nbf": "1"},
        "ten years": {"exp": NOW + 315_000_000},
        "another issuer": {"iss": ISSUER + "x"},
        "part of the issuer": {"iss": ISSUER[:-1]},
        "a list of issuers": {"iss": [ISSUER]},
        "no issuer": {"iss": ...},
        "another audience": {"aud": "x"},
        "one of two": {"aud": ["x", AUDIENCE]},
        "no audience": {"aud": ...},
        "audiences of two kinds": {"aud": [AUDIENCE, 1]},
        "no sub": {"sub": ...},
        "sub a number": {"sub": 7},
        "sub empty": {"sub": ""},
        "sub with a control character": {"sub": "a\0"},
        "sub too long": {"sub": "a" * 300},
        "an ID token": {"nonce": "n"},
        "bound": {"cnf": {"jkt": "x"}},
        "jti a number": {"jti": 5},
    }
    headers: dict[str, dict[str, Any]] = {
        "crit unknown": {"crit": ["x"], "x": 1},
        "crit empty": {"crit": []},
        "kid a number": {"kid": 1},
        "kid too long": {"kid": "k" * 10_000},
        "kid with a null": {"kid": "\0"},
        "zip": {"zip": "DEF"},
        "enc": {"enc": "A128GCM"},
        "an event": {"typ": "secevent+jwt"},
        "a proof": {"typ": "dpop+jwt"},
        "typ a number": {"typ": 1},
        "with keys": {"jwk": {"kty": "RSA"}, "jku": "https://evil.test"},
    }
    cases = {alg: token(alg=alg) for alg in KEYS}
    cases |= {name: token(**each) for name, each in changed.items()}
    cases |= {name: token(header=each) for name, each in headers.items()}
    return cases | {
        "none": b64('{"alg":"none"}') + f".{PARTS[1]}.",
        "a stranger's key": token(key=STRANGER),
        "another key": token(key=OTHER_RSA),
        "RS512": token(alg="RS512", key=RSA),
        "HS256 by the public key": token(alg="HS256", key=b"-----BEGIN PUBLIC KEY-----"),
        "no signature": f"{PARTS[0]}.{PARTS[1]}.",
        "half a signature": GOOD[:-20],
        "five parts": f"{GOOD}.x.y",
        "padding": f"{GOOD}==",
        "a newline": f"{GOOD}\n",
        "a space": f" {GOOD}",
        "a name twice": raw(HEAD, TEXT[:-1] + ', "sub": "admin"}'),
        "alg twice": raw('{"alg":"none","alg":"RS256"}', TEXT),
        "UTF-16": raw(HEAD, TEXT.encode("utf-16")),
        "a byte order mark": raw(HEAD, b"\xef\xbb\xbf" + TEXT.encode()),
        "half a character": raw(HEAD, TEXT[:-1] + r', "n": "\ud800"}'),
        "NaN": raw(HEAD, TEXT[:-1] + ', "n": NaN}'),
        "not a number of this world": raw(HEAD, TEXT[:-1] + ', "n": 1e400}'),
        "a list": raw(HEAD, "[]"),
        "JSON": json.dumps({"payload": PARTS[1], "protected": PARTS[0], "signature": PARTS[2]}),
        "too large": token(filler="x" * 15_000),
        "unused bits": GOOD[:-1] + chr(ord(GOOD[-1]) + 1),
        "nothing": "",
    }


CASES = _cases()
THEY_TAKE = {
    "nbf a text": "as exp",
    "ten years": "our own rule: 31 days",
    "sub empty": "it names nobody",
    "sub with a control character": "it cannot be shown",
    "sub too long": "our own rule: 256 characters",
    "an ID token": "RFC 9068 §5, RFC 8725 §3.12",
    "bound": "RFC 9449 §7.1: a bearer proves no key",
    "kid too long": "our own rule: 256 characters",
    "kid with a null": "it cannot be shown",
    "zip": "RFC 7516: not of a JWS; nothing is unpacked",
    "enc": "RFC 7516: not of a JWS",
    "an event": "RFC 8725 §3.11",
    "a proof": "RFC 8725 §3.11",
    "typ a number": "RFC 7515 §4.1.9: a text",
    "padding": "RFC 7515 §2: without padding",
    "a name twice": "RFC 8725 §2.4, RFC 7519 §4: two readers would read two users",
    "alg twice": "as a name twice",
    "UTF-16": "RFC 7519 §7.2, RFC 8259 §8.1: UTF-8",
    "a byte order mark": "RFC 8259 §8.1",
    "half a character": "it has no UTF-8",
    "NaN": "RFC 8259 §6",
    "not a number of this world": "it is read as infinity",
    "too large": "our own rule: 16 KB",
}


@pytest.mark.requirement("J-48", "C2.wrapper", "C.shown-vectors")
@pytest.mark.parametrize("name", CASES)
def test_j48_two_verifiers_agree(name, theirs):
    mine, others = ours(CASES[name]), theirs(CASES[name])
    if mine:
        assert others, "we take what PyJWT refuses"
    elif others:
        assert name in THEY_TAKE, "PyJWT takes what we refuse, and no reason is given"


@pytest.mark.requirement("J-48")
def test_j48_some_are_taken_and_every_reason_is_needed(theirs):
    assert {name for name, text in CASES.items() if ours(text)} == {*KEYS, "just not", "one of two", "with keys"}
    assert {name for name in THEY_TAKE if not theirs(CASES[name])} == set()


@pytest.mark.requirement("J-48", "C.shown-vectors")
@settings(max_examples=150)
@given(
    members=st.dictionaries(
        st.sampled_from(["exp", "nbf", "iat", "iss", "aud", "sub", "jti", "cnf", "nonce", "x"]),
        st.none()
        | st.booleans()
        | st.integers(int(NOW) - 100, int(NOW) + 100)
        | st.integers()
        | st.floats()
        | st.text(max_size=8)
        | st.just(ISSUER)
        | st.just(AUDIENCE)
        | st.lists(st.just(AUDIENCE) | st.text(max_size=3), max_size=3),
        max_size=4,
    )
)
def test_j48_nothing_is_taken_that_pyjwt_refuses(members):
    payload = json.dumps(claims() | members)
    text = raw(HEAD, payload)
    if ours(text):
        told = pyjwt.decode(
            text,
            RSA.public_key(),
            algorithms=["RS256"],
            issuer=ISSUER,
            audience=AUDIENCE,
            # Its times are those of now; ours are tried above.
            options={"verify_exp": False, "verify_iat": False, "verify_nbf": False, "require": ["exp", "iss", "sub"]},
        )
        assert told == json.loads(base64.urlsafe_b64decode(text.split(".")[1] + "=="))
