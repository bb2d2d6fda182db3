"""How a client proves itself: RFC 6749 §2.3.1 and the case G-13."""

import base64
from urllib.parse import unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valetkey.errors import InvalidSetting
from valetkey.protocol.client_auth import prove
from valetkey.secret import Secret


def decoded(header):
    scheme, _, coded = header.partition(" ")
    assert scheme == "Basic"
    name, _, secret = base64.b64decode(coded, validate=True).decode("ascii").partition(":")
    return unquote_plus(name), unquote_plus(secret)


def test_basic_is_the_standards_own_example():
    proof = prove("client_secret_basic", client_id="s6BhdRkqt3", secret=Secret("7Fjfp0ZBr1KtDRbnfVdmIw"))
    assert proof.headers == {"authorization": "Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3"}
    assert proof.parameters == {}


def test_both_halves_are_form_encoded_first():
    proof = prove("client_secret_basic", client_id="a:b", secret=Secret(": % + space ü"))
    coded = base64.b64decode(proof.headers["authorization"].removeprefix("Basic ")).decode()
    assert coded == "a%3Ab:%3A+%25+%2B+space+%C3%BC"


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_server_that_decodes_gets_what_was_meant(client_id, secret):
    try:
        f"{client_id}{secret}".encode()
    except UnicodeEncodeError:
        return
    assert decoded(
        prove("client_secret_basic", client_id=client_id, secret=Secret(secret)).headers["authorization"]
    ) == (client_id, secret)


def test_post_puts_both_into_the_body():
    proof = prove("client_secret_post", client_id="id", secret=Secret("s3cret"))
    assert proof.parameters == {"client_id": "id", "client_secret": "s3cret"}
    assert proof.headers == {}


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none"])
@pytest.mark.parametrize("secret", [None, Secret("")])
def test_a_public_client_only_names_itself(method, secret):
    proof = prove(method, client_id="id", secret=secret)
    assert (proof.parameters, proof.headers) == ({"client_id": "id"}, {})


def test_none_sends_no_secret_even_where_there_is_one():
    proof = prove("none", client_id="id", secret=Secret("s3cret"))
    assert (proof.parameters, proof.headers) == ({"client_id": "id"}, {})


def test_an_unknown_method_is_a_setting_to_correct():
    with pytest.raises(InvalidSetting, match="client_secret_basic, client_secret_post, none"):
        prove("private_key_jwt", client_id="id", secret=Secret("s"))


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_proof_does_not_print(method):
    proof = prove(method, client_id="id", secret=Secret("canary-77"))
    assert "canary" not in repr(proof)
    assert base64.b64encode(b"id:canary-77").decode() not in repr(proof)
