"""A form is taken only from the page that we showed to this browser (W-13)."""

from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.requests import Request
from starlette.responses import Response

from tests.web.asgi import Draws, request_of
from valetkey.entrypoints.web.forms import Forms, FormToken
from valetkey.errors import Denied, InvalidAnswer

STATE = "s" * 43
HOST = ("host", "localhost:8000")
URLENCODED = ("content-type", "application/x-www-form-urlencoded")


@pytest.fixture
def forms() -> Forms:
    return Forms(base_url="https://localhost:8001", entropy=Draws())


def shown(forms: Forms, state: str = STATE, **about: Any) -> FormToken:
    return forms.issue(request_of(**about), state)


def posted(
    token: FormToken | None,
    fields: dict[str, str] | None = None,
    *,
    headers: tuple[tuple[str, str], ...] = (),
    kind: tuple[str, str] = URLENCODED,
    cookie: str | None = None,
    body: bytes | None = None,
) -> Request:
    given = {"csrf": token.value} if token else {}
    jar = cookie if cookie is not None else (f"{token.cookie}={token.nonce}" if token else "")
    return request_of(
        body if body is not None else urlencode({**given, **(fields or {"token": "pasted"})}).encode(),
        method="POST",
        headers=[HOST, kind, ("cookie", jar), *headers],
    )


async def test_a_form_from_our_page_is_read_without_its_hidden_field(forms: Forms) -> None:
    fields = {"username": "ada", "password": "pa ss&=wörd"}
    assert await forms.read(posted(shown(forms), fields), STATE) == fields


@pytest.mark.parametrize(
    "headers",
    [
        (("sec-fetch-site", "same-origin"), ("origin", "null")),  # what Chromium sends under no-referrer
        (("sec-fetch-site", "same-origin"), ("origin", "http://localhost:8000")),
        (("origin", "http://localhost:8000"),),
        (("origin", "https://localhost:8001"),),
    ],
)
async def test_what_browsers_send_from_our_own_page_is_taken(
    forms: Forms, headers: tuple[tuple[str, str], ...]
) -> None:
    assert await forms.read(posted(shown(forms), headers=headers), STATE) == {"token": "pasted"}


@pytest.mark.parametrize(
    "headers",
    [
        (("sec-fetch-site", "cross-site"),),
        (("sec-fetch-site", "same-site"),),  # another port of this machine
        (("sec-fetch-site", "same-site"), ("origin", "http://localhost:8000")),
        (("sec-fetch-site", "same-origin"), ("origin", "https://evil.test")),
        (("origin", "https://evil.test"),),
        (("origin", "null"),),
        (("origin", "http://localhost:3000"),),
        (("origin", "https://localhost:8001.evil.test"),),
        (("origin", "http://localhost:8000, https://evil.test"),),
    ],
)
async def test_a_form_from_another_site_is_refused(forms: Forms, headers: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(Denied, match="another site"):
        await forms.read(posted(shown(forms), headers=headers), STATE)


async def test_a_form_without_token_or_with_a_foreign_one_is_refused(forms: Forms) -> None:
    mine, other = shown(forms), shown(forms, "o" * 43)
    refused = [
        posted(None),
        posted(None, cookie=f"{mine.cookie}={mine.nonce}"),
        posted(mine, cookie=""),
        posted(mine, cookie=f"{mine.cookie}={other.nonce}"),
        posted(mine, cookie=f"{mine.cookie}="),
        posted(other, cookie=f"{mine.cookie}={mine.nonce}"),
        posted(None, {"csrf": "é"}, cookie=f"{mine.cookie}={mine.nonce}"),
    ]
    for request in refused:
        with pytest.raises(Denied, match="does not belong"):
            await forms.read(request, STATE)


async def test_a_token_serves_one_flow_only(forms: Forms) -> None:
    mine, other = shown(forms), shown(forms, "another state")
    for cookie in (f"{mine.cookie}={mine.nonce}", f"{other.cookie}={mine.nonce}"):
        with pytest.raises(Denied):
            await forms.read(posted(mine, cookie=cookie), "another state")


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "application/json", ""])
async def test_a_body_that_is_no_plain_form_is_refused(forms: Forms, kind: str) -> None:
    with pytest.raises(Denied):
        await forms.read(posted(shown(forms), kind=("content-type", kind)), STATE)


@pytest.mark.parametrize("body", [b"csrf", b"\xff=1", b"a=%ff", b"token=1&token=2", b"&".join([b"a=1"] * 40)])
async def test_a_body_that_cannot_be_read_is_refused_without_quoting_it(forms: Forms, body: bytes) -> None:
    with pytest.raises(InvalidAnswer) as caught:
        await forms.read(posted(shown(forms), body=body), STATE)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_second_tab_of_the_same_form_does_not_spoil_the_first(forms: Forms) -> None:
    first = shown(forms)
    second = shown(forms, headers=[HOST, ("cookie", f"{first.cookie}={first.nonce}")])
    assert (second.value, second.nonce) == (first.value, first.nonce)


def test_a_cookie_that_we_cannot_have_set_is_replaced(forms: Forms) -> None:
    first = shown(forms)
    assert shown(forms, headers=[HOST, ("cookie", f"{first.cookie}=short")]).nonce != "short"


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(forms: Forms) -> None:
    response = Response()
    token = shown(forms)
    token.set_cookie(response)
    name, *attributes = response.headers["set-cookie"].split("; ")
    assert name == f"{token.cookie}={token.nonce}"
    assert {attribute.lower() for attribute in attributes} == {"httponly", "max-age=86400", "path=/", "samesite=strict"}


@pytest.mark.parametrize(
    ("base_url", "scheme", "host_only"),
    [
        ("https://localhost:8001", "https", True),
        ("https://localhost:8001", "http", False),
        ("https://keys.example.test", "http", True),  # behind a proxy that ends TLS
        ("http://keys.example.test", "http", False),
    ],
)
def test_over_https_the_cookie_is_bound_to_the_host(base_url: str, scheme: str, host_only: bool) -> None:
    token = Forms(base_url=base_url, entropy=Draws()).issue(request_of(scheme=scheme), STATE)
    response = Response()
    token.set_cookie(response)
    assert token.cookie.startswith("__Host-") is host_only
    assert ("secure" in response.headers["set-cookie"].lower()) is host_only


def test_a_token_does_not_print_its_values(forms: Forms) -> None:
    token = shown(forms)
    assert token.value not in repr(token)
    assert token.nonce not in repr(token)
