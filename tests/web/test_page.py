"""Pages for people: what they say, what they may do, and what nobody can make them do."""

import base64
import hashlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.web.asgi import Reading, drive, scope_of
from valetkey import errors
from valetkey.entrypoints.web import page
from valetkey.entrypoints.web.forms import FormToken
from valetkey.providers.base import PastedField

TOKEN = FormToken(value="f" * 64, cookie="valetkey-form-x", nonce="n" * 43, secure=False)
FIELD = PastedField(name="token", label="API token")


def form(**about: Any) -> Response:
    return page.paste_form(**{"provider": "Notion", "fields": [FIELD], "action": "/go", "token": TOKEN, **about})


PAGES: dict[str, Callable[[], Response]] = {
    "connected": lambda: page.connected(provider="Slack", account="ada", scopes=["read"], program="report.py"),
    "refused": lambda: page.refused(provider="Slack", reason="no"),
    "expired": lambda: page.expired(provider="Slack"),
    "failed": lambda: page.failed(title="No", what="It broke.", next_step="Again.", reference="r1"),
    "not_found": page.not_found,
    "paste_form": form,
    "from_error": lambda: page.from_error(errors.ProviderUnavailable("Slack is down.")),
    "from_status": lambda: page.from_status(405),
}
every_page = pytest.mark.parametrize("make", PAGES.values(), ids=PAGES.keys())


@every_page
def test_every_page_carries_the_strict_headers(make: Callable[[], Response]) -> None:
    response = make()
    style = base64.b64encode(hashlib.sha256(Reading(response).style.encode()).digest()).decode()
    assert {
        directive.split()[0]: directive.split()[1:]
        for directive in response.headers["content-security-policy"].split("; ")
    } == {
        "default-src": ["'none'"],
        "style-src": [f"'sha256-{style}'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    }
    assert response.headers["x-frame-options"] == "DENY"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["cross-origin-opener-policy"] == "same-origin"
    assert response.headers["cross-origin-resource-policy"] == "same-origin"
    assert "camera=()" in response.headers["permissions-policy"]
    assert response.headers["content-type"] == "text/html; charset=utf-8"


@every_page
def test_every_page_can_be_read_by_a_screen_reader_and_fetches_nothing(make: Callable[[], Response]) -> None:
    reading = Reading(make())
    assert reading.all("html") == [{"lang": "en"}]
    assert len(reading.all("title")) == len(reading.all("h1")) == len(reading.all("main")) == 1
    assert all(svg.get("aria-hidden") == "true" for svg in reading.all("svg"))
    names = {tag for tag, _ in reading.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "audio", "video", "base"}
    handled = {attribute for _, attributes in reading.tags for attribute in attributes}
    assert not {attribute for attribute in handled if attribute.startswith("on")} | handled & {"src", "style", "srcset"}


@pytest.mark.parametrize(
    ("response", "status", "said"),
    [
        (page.connected(provider="Slack"), 200, "You can close this window and go back to your program."),
        (page.refused(provider="Slack"), 403, "You can close this window and go back to your program."),
        (page.expired(provider="Slack"), 410, "Go back to your program and ask for a new link."),
        (page.not_found(), 404, "Open the whole link from your program again."),
        (form(), 200, "Close this window, and nothing happens."),
    ],
    ids=["connected", "refused", "expired", "not_found", "paste_form"],
)
def test_each_page_says_what_to_do_next(response: Response, status: int, said: str) -> None:
    assert response.status_code == status
    assert said in Reading(response).text


def test_the_connected_page_names_account_profile_scopes_and_program() -> None:
    text = Reading(
        page.connected(
            provider="Slack", account="ada@example.test", profile="work", scopes={"chat:write"}, program="report.py"
        )
    ).text
    assert "Slack is connected" in text
    assert all(part in text for part in ("ada@example.test", "work", "chat:write", "report.py"))


def test_the_default_profile_and_an_unknown_account_are_not_talked_about() -> None:
    text = Reading(page.connected(provider="Slack", profile="default")).text
    assert "Profile" not in text
    assert "Account" not in text


def test_of_very_many_scopes_some_are_shown_and_the_rest_counted() -> None:
    reading = Reading(page.connected(provider="Slack", scopes=[f"scope{n}" for n in range(500)]))
    assert len(reading.all("li")) == 13
    assert "and 488 more" in reading.text


PAYLOADS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><svg onload=alert(1)>",
    "</title><b>",
    "{{ 7 * 7 }}{% raw %}",
    "[click](javascript:alert(1))",
    "&lt;script&gt;",
]


@pytest.mark.requirement("W-11")
@pytest.mark.parametrize("payload", PAYLOADS)
def test_markup_in_any_text_of_any_page_stays_text(payload: str) -> None:  # W-11
    field = PastedField(name=payload, label=payload)

    def pages(text: str, error: str | None) -> list[Response]:
        return [
            page.connected(provider=text, account=text, profile=text, scopes=[text], program=text),
            page.refused(provider=text, reason=text),
            page.expired(provider=text),
            page.failed(title=text, what=text, next_step=text, reference=text),
            page.from_error(errors.AuthRefused(text), provider=text),
            page.from_error(errors.InvalidAnswer(text), reference=text),
            form(
                provider=text, owner=text, program=text, scopes=[text], error=error, fields=[field], action=f"/{text}"
            ),
        ]

    def shape(response: Response) -> list[tuple[str, list[str]]]:
        return [(tag, sorted(attributes)) for tag, attributes in Reading(response).tags]

    for hostile, harmless in zip(pages(payload, payload), pages("harmless", "harmless"), strict=True):
        assert shape(hostile) == shape(harmless)
        assert payload in Reading(hostile).text


def test_a_providers_text_is_cut_and_cannot_steer_the_terminal_or_the_reading_order() -> None:  # O-12
    shown = page.plain("\x1b[31mred\x1b]0;title\x07 \u202eevil\u2066 a\x00b\r\nc\u2028d\u200f" + "x" * 10_000)
    assert shown.startswith("red evil ab c dxxx")
    assert len(shown) == 200
    assert shown.endswith("…")
    assert Reading(page.refused(provider="Slack", reason="y" * 10_240)).text.count("y" * 199) == 1


def test_scripts_that_need_joiners_keep_them() -> None:
    wanted = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"  # Persian for: I want
    assert page.plain(wanted) == wanted


@pytest.mark.requirement("W-11")
@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "//evil.test", "javascript://x/%0aalert(1)", "http://[", ""]
)
def test_only_a_web_address_becomes_a_link_to_the_documentation(url: str) -> None:
    assert not Reading(form(docs=url)).all("a")


def test_the_link_to_the_documentation_tells_it_nothing_of_us() -> None:
    (link,) = Reading(form(docs="https://notion.test/tokens")).all("a")
    assert link == {"href": "https://notion.test/tokens", "target": "_blank", "rel": "noopener noreferrer"}


def test_the_form_posts_masks_secrets_and_labels_each_field() -> None:
    reading = Reading(form(fields=[PastedField(name="user", label="User", secret=False), FIELD], action="/x?a=1&b=2"))
    (sent,) = reading.all("form")
    assert (sent["method"], sent["action"], sent["autocomplete"]) == ("post", "/x?a=1&b=2", "off")
    hidden, user, token = reading.all("input")
    assert (hidden["type"], hidden["name"], hidden["value"]) == ("hidden", "csrf", TOKEN.value)
    assert (user["type"], user["name"]) == ("text", "user")
    assert (token["type"], token["name"], token["autocomplete"]) == ("password", "token", "off")
    assert [label["for"] for label in reading.all("label")] == [user["id"], token["id"]]
    assert all("value" not in field for field in (user, token))


def test_an_error_on_the_form_is_announced() -> None:
    reading = Reading(form(error="The token is empty."))
    assert form(error="The token is empty.").status_code == 400
    assert any(attributes.get("role") == "alert" for _, attributes in reading.tags)
    assert "The token is empty." in reading.text


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (errors.InvalidAnswer("The answer has no code."), 400, "The answer has no code."),
        (errors.Denied("Sent by another site."), 403, "Sent by another site."),
        (errors.AuthExpired("Too late."), 410, "This link has ended"),
        (errors.StoreUnavailable("The database is locked."), 503, "The database is locked."),
        (errors.AuthRefused("No, thanks."), 403, "No, thanks."),
    ],
)
def test_an_error_of_ours_has_its_own_status_and_words(error: errors.ValetkeyError, status: int, said: str) -> None:
    response = page.from_error(error, provider="Slack", reference="r1")
    assert response.status_code == status
    assert said in Reading(response).text


def test_who_tried_too_often_is_told_when_to_come_back_and_who_is_unknown_how_to_say_who_they_are() -> None:
    often = page.from_error(errors.RateLimited("Too many. Try again in 300 s.", retry_after=300))
    assert (often.status_code, often.headers["retry-after"]) == (429, "300")
    assert "Wait a few minutes" in Reading(often).text
    nobody = page.from_error(errors.Unauthenticated("This session has ended."))
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, "Bearer")
    assert "Sign in, then open the page again." in Reading(nobody).text


@pytest.mark.requirement("W-20")
@pytest.mark.parametrize("kind", list(errors.RENDERINGS))
def test_every_error_has_a_page_and_none_is_a_500(kind: type[errors.ValetkeyError]) -> None:
    keywords = [one for one in inspect.signature(kind).parameters.values() if one.kind is one.KEYWORD_ONLY]
    more = [one.name for one in keywords if one.default is one.empty]
    response = page.from_error(kind("What happened.", **dict.fromkeys(more, "")), reference="ref-7")
    assert 400 <= response.status_code < 600
    assert response.status_code != 500


@pytest.mark.parametrize(
    "target",
    [
        "//evil.test",
        "/\\evil.test",
        "/%09/evil.test",
        "https:evil.test",
        "javascript:alert(1)",
        "http://us@evil.test",
        "/a\r\nSet-Cookie: x=1",
        "/..//evil.test",
        "/a/../b",
        "/./x",
        "",
        "evil",
        "/a//b",
    ],
)
def test_a_redirect_leads_to_no_other_place(target: str) -> None:  # O-18
    assert page.see_other(target).headers["location"] == "/"


@pytest.mark.parametrize("target", ["/", "/auth/slack/result/0a1b", "/a/b/?next=1&x=%2F", "/auth/my-service_2"])
def test_a_redirect_to_a_path_of_ours_is_a_303_without_referrer(target: str) -> None:  # O-21, O-22
    response = page.see_other(target)
    assert (response.status_code, response.headers["location"]) == (303, target)
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cache-control"] == "no-store"


async def test_every_error_of_a_starlette_app_becomes_a_page() -> None:
    async def deny(request: Request) -> Response:
        raise errors.Denied("You may not.")

    async def teapot(request: Request) -> Response:
        raise HTTPException(429, headers={"retry-after": "7"})

    app = Starlette(routes=[Route("/deny", deny), Route("/busy", teapot)], exception_handlers=page.exception_handlers())
    missing = await drive(app, scope_of(path="/.git/config"))
    wrong = await drive(app, scope_of("DELETE", "/deny"))
    denied = await drive(app, scope_of(path="/deny"))
    busy = await drive(app, scope_of(path="/busy"))
    assert [answer.status for answer in (missing, wrong, denied, busy)] == [404, 405, 403, 429]
    assert busy.header("retry-after") == "7"
    assert "You may not." in denied.text
    for answer in (missing, wrong, denied, busy):
        assert answer.header("x-frame-options") == "DENY"
        assert (answer.header("content-security-policy") or "").startswith("default-src 'none'")
