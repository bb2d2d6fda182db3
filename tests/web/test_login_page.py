"""A program asks to be let in: the person sees what asks, compares a code, and says yes or no by POST only."""

import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.web.asgi import Answer
from tests.web.people import PASSWORD, People, people, sign_in
from valetkey.entrypoints.web.login import LOGIN_PAGE
from valetkey.errors import AuthRefused
from valetkey.model.calls import BEARER, Presented
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock


@pytest.fixture
async def site() -> AsyncIterator[People]:
    async with people(clock=ManualClock()) as opened:
        yield opened


async def begin(site: People, **about: Any) -> tuple[dict[str, Any], str]:
    asked = await site.identity.login.start(**{"address": "203.0.113.9", "agent": "report.py/1.0 <script>", **about})
    parts = urlsplit(asked["login_url"])
    return asked, f"{parts.path}?{parts.query}"


async def answer(jar: Any, url: str, said: str) -> Answer:
    sent: Answer = await jar.submit(url, await jar.get(url), form="/answer", answer=said)
    return sent


async def test_who_is_not_signed_in_signs_in_first_and_comes_back(site: People) -> None:
    await site.add("ann")
    _, url = await begin(site, workspace="ws-team", expires_in=60)
    jar = site.browser()
    sent = await jar.get(url)
    assert sent.status == 303
    where = sent.header("location") or ""
    assert urlsplit(where).path == "/sign-in"
    shown = await jar.get(where)
    assert "A program wants to act in your name." in shown.text
    back = await jar.submit(where, shown, name="ann", password=PASSWORD)
    assert back.status == 303
    assert parse_qs(urlsplit(back.header("location") or "").query) == parse_qs(urlsplit(url).query)
    assert (await jar.get(back.header("location") or "")).status == 200


@pytest.mark.requirement("C5.page")
async def test_the_page_shows_what_asks_and_the_code(site: People) -> None:
    jar = await site.signed_in("ann")
    asked, url = await begin(site, expires_in=7200)
    text = (await jar.get(url)).text
    for said in (asked["code"], "report.py", "203.0.113.9", "2 hours", "ann", "Hypha Account"):
        assert said in text
    assert "<script" not in text
    assert "report_url" not in text


@pytest.mark.requirement("O-34", "d24.page", "d24.once")
async def test_yes_gives_the_program_a_token_once_and_no_address_has_it(site: People) -> None:
    jar = await site.signed_in("ann")
    asked, url = await begin(site)
    assert await site.identity.login.check(asked["key"], timeout=0) is None
    done = await answer(jar, url, "yes")
    assert (done.status, done.header("location")) == (303, "/login/done")
    told = await jar.get("/login/done")
    assert "You may close this window" in told.text
    token = await site.identity.login.check(asked["key"], timeout=0)
    caller = await site.identity.chain.identify(Presented(scheme=BEARER, value=Secret(token)))
    assert caller.user is not None
    assert caller.user.get_effective_user_id() == "local|ann"
    for page in (done, told):
        assert token not in page.text + str(page.headers)
    assert (await jar.get(url)).status == 410


async def test_no_gives_it_nothing(site: People) -> None:
    jar = await site.signed_in("ann")
    asked, url = await begin(site)
    refused = await answer(jar, url, "no")
    assert (refused.status, refused.header("location")) == (303, "/login/refused")
    assert "was not signed in" in (await jar.get("/login/refused")).text
    with pytest.raises(AuthRefused):
        await site.identity.login.check(asked["key"], timeout=0)


@pytest.mark.requirement("d24.page")
@pytest.mark.parametrize("said", ["", "YES", "maybe"])
async def test_anything_but_yes_is_no(site: People, said: str) -> None:
    jar = await site.signed_in("ann")
    asked, url = await begin(site)
    assert (await answer(jar, url, said)).header("location") == "/login/refused"
    with pytest.raises(AuthRefused):
        await site.identity.login.check(asked["key"], timeout=0)


@pytest.mark.requirement("d24.page")
async def test_opening_the_page_decides_nothing(site: People) -> None:
    """O-20: neither by a link of another site nor by a GET of the answer."""
    jar = await site.signed_in("ann")
    asked, url = await begin(site)
    assert (await jar.get(url, sec_fetch_site="cross-site")).status == 200
    assert (await jar.get(f"/login/{asked['key']}/answer?answer=yes")).status == 405
    assert await site.identity.login.check(asked["key"], timeout=0) is None


async def test_only_the_form_that_this_person_was_shown_for_this_program_counts(site: People) -> None:
    jar, other = await site.signed_in("ann"), await site.signed_in("bob")
    asked, url = await begin(site)
    second, second_url = await begin(site)
    path = f"/login/{asked['key']}/answer"
    mine = re.findall(r'name="csrf" value="([^"]+)"', (await jar.get(second_url)).text)[0]
    theirs = re.findall(r'name="csrf" value="([^"]+)"', (await other.get(url)).text)[0]
    own = re.findall(r'name="csrf" value="([^"]+)"', (await jar.get(url)).text)[0]
    for fields, headers in (
        ({}, {}),
        ({"csrf": mine}, {}),
        ({"csrf": theirs}, {}),
        ({"csrf": own}, {"content_type": "text/plain"}),
    ):
        sent = await jar.post(path, {"answer": "yes", **fields}, **headers)
        assert sent.status == 403, fields
    sent = await jar.post(path, {"answer": "yes", "csrf": own}, sec_fetch_site="cross-site")
    assert (sent.status, sent.header("location")) == (303, f"/sign-in?next={LOGIN_PAGE}%3Fkey%3D{asked['key']}")
    for key in (asked["key"], second["key"]):
        assert await site.identity.login.check(key, timeout=0) is None


async def test_a_form_that_was_shown_to_another_person_in_this_browser_does_not_count(site: People) -> None:
    jar = await site.signed_in("ann")
    asked, url = await begin(site)
    anns_form = await jar.get(url)
    await site.add("bob")
    await jar.submit("/account", await jar.get("/account"), form="/sign-out")
    assert (await sign_in(jar, "bob")).status == 303
    assert (await jar.submit(url, anns_form, form="/answer", answer="yes")).status == 403
    assert await site.identity.login.check(asked["key"], timeout=0) is None


@pytest.mark.parametrize("key", ["x", "x" * 43, "x" * 1000, "%3Cscript%3E"])
async def test_an_unknown_key_says_start_again(site: People, key: str) -> None:
    for jar in (site.browser(), await site.signed_in("ann")):
        shown = await jar.get(f"{LOGIN_PAGE}?key={key}")
        assert shown.status == 400
        assert "start" in shown.text or "sign in again" in shown.text
        assert "<script" not in shown.text


async def test_a_key_that_is_too_old_says_start_again(site: People) -> None:
    jar = await site.signed_in("ann")
    _, url = await begin(site)
    form = await jar.get(url)
    site.clock.advance(181)
    assert (await jar.get(url)).status == 410
    sent = await jar.submit(url, form, form="/answer", answer="yes")
    assert sent.status == 410
    assert "let it sign in again" in sent.text


async def test_a_workspace_in_which_the_person_may_nothing_is_refused(site: People) -> None:
    jar = await site.signed_in("ann")
    asked, url = await begin(site, workspace="ws-of-others")
    assert "ws-of-others" in (await jar.get(url)).text
    assert (await answer(jar, url, "yes")).status == 403
    assert await site.identity.login.check(asked["key"], timeout=0) is None


@pytest.mark.requirement("seed004.login-page")
async def test_without_a_key_the_page_says_what_it_is(site: People) -> None:
    shown = await site.browser().get(LOGIN_PAGE)
    assert shown.status == 200
    assert "Hypha Account" in shown.text
    assert 'href="/sign-in"' in shown.text
    jar = await site.signed_in("ann")
    assert 'href="/account"' in (await jar.get(LOGIN_PAGE)).text
