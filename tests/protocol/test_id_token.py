"""Whose account an ID token names: OpenID Connect Core §2, §3.1.3.7, §12.2; case T-17."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valetkey.model.connections import Subject
from valetkey.protocol.id_token import read_subject, same_account

ADA = Subject(issuer="https://idp.test", subject="ada", audience=frozenset({"id"}))
CLAIMS: dict[str, Any] = {"iss": "https://idp.test", "sub": "ada", "aud": "id", "exp": 1, "iat": 0, "name": "Ada"}


def coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def compact(payload: bytes, header: bytes = b'{"alg":"RS256"}', signature: bytes = b"signature") -> str:
    return f"{coded(header)}.{coded(payload)}.{coded(signature)}"


def token(**claims: object) -> str:
    return compact(json.dumps({name: value for name, value in (CLAIMS | claims).items() if value != ...}).encode())


def test_it_is_read():
    assert read_subject(token()) == ADA
    assert read_subject(token(aud=["id", "other"])).audience == {"id", "other"}
    assert read_subject(token(sub="s" * 255)).subject == "s" * 255


def test_the_standards_own_example():
    # OpenID Connect Core §3.1.3.3, shortened to what is read.
    claims = b'{"iss": "https://server.example.com", "sub": "24400320", "aud": "s6BhdRkqt3", "nonce": "n-0S6_WzA2Mj"}'
    assert read_subject(compact(claims)) == Subject(
        issuer="https://server.example.com", subject="24400320", audience=frozenset({"s6BhdRkqt3"})
    )


def test_one_without_a_signature_is_as_good_from_the_token_endpoint():
    # OpenID Connect Core §2: alg may be none there.
    assert read_subject(compact(json.dumps(CLAIMS).encode(), b'{"alg":"none"}', b"")) == ADA


@pytest.mark.parametrize("name", ["iss", "sub", "aud"])
@pytest.mark.parametrize("value", [..., None, "", 5, True, {}, [], [5], [""], ["a\n"], "a\nb", "\u202e", "x" * 3000])
def test_a_claim_that_is_none(name, value):
    with pytest.raises(ValueError, match=f"its {name} is none"):
        read_subject(token(**{name: value}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b",
        "a.b.c.d.e",
        "e30.e30",
        token() + "\n",
        token() + ".",
        " " + token(),
        token().replace(".", "=.", 1),
        token().replace("e", "+", 1),
        "A." + token().partition(".")[2],
        compact(b"[]"),
        compact(b"5"),
        compact(b"{"),
        compact(b"\xff{}"),
        compact(json.dumps(CLAIMS).encode("utf-16")),
        compact(b"\xef\xbb\xbf" + json.dumps(CLAIMS).encode()),
        compact(json.dumps(CLAIMS).encode(), b"no header"),
        compact(json.dumps(CLAIMS).encode()[:-1] + b', "sub": "eve"}'),
        compact(json.dumps(CLAIMS).encode() + b"{}"),
        compact(b"[" * 50_000),
        token(name="x" * 70_000),
        token(aud=["id"] * 101),
    ],
)
def test_what_can_be_read_in_two_ways_or_none(text):
    with pytest.raises(ValueError, match=r"^(it is no|a part of it|its aud)"):
        read_subject(text)


@given(st.text(alphabet="eyJ0.-_A", max_size=60))
def test_garbage_raises_one_error(text):
    with pytest.raises(ValueError, match=r"^(it |its |a part of it )"):
        raise ValueError(f"it was read as {read_subject(text)}")


@pytest.mark.parametrize(
    ("told", "same"),
    [
        (token(), True),
        (token(aud=["id"]), True),
        (token(aud=["other", "id"]), True),
        (token(sub="eve"), False),
        (token(sub="ADA"), False),
        (token(iss="https://idp.test/"), False),
        (token(iss="https://evil.test"), False),
        (token(aud="other"), False),
    ],
)
def test_the_same_account_is_issuer_subject_and_audience(told, same):
    assert same_account(ADA, read_subject(told)) is same
