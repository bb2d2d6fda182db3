"""Sign in and out: a new session each time, one answer for what is wrong, and nobody is signed in by a link."""

import re
from collections.abc import AsyncIterator

import pytest

from tests.web.asgi import Answer
from tests.web.people import PASSWORD, People, people, sign_in
from valetkey.model.tokens import TokenKind
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock


@pytest.fixture
async def site() -> AsyncIterator[People]:
    async with people() as opened:
        yield opened


def session_cookie(answer: Answer) -> str:
    """The one Set-Cookie of the session."""
    found = [value for key, value in answer.headers if key == "set-cookie" and "form" not in value.partition("=")[0]]
    assert len(found) == 1, answer.headers
    return found[0]


@pytest.mark.requirement("seed004.password", "C4.pages")
async def test_name_and_password_begin_a_session_and_lead_on(site: People) -> None:
    await site.add("ann")
    jar = site.browser()
    answer = await sign_in(jar, "ann")
    assert (answer.status, answer.header("location")) == (303, "/account")
    shown = await jar.get("/account")
    assert shown.status == 200
    assert "Firefox on Linux" in shown.text
    assert shown.header("cache-control") == "no-store"


@pytest.mark.requirement("A-18")
async def test_on_this_machine_the_session_cookie_is_plain_and_for_nobody_else_to_read(site: People) -> None:
    await site.add("ann")
    kept = session_cookie(await sign_in(site.browser(), "ann"))
    assert kept.startswith("valetkey=vks_")
    parts = {part.strip().lower() for part in kept.split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/", f"max-age={14 * 86_400}"} == parts


@pytest.mark.requirement("A-18")
async def test_behind_https_the_session_cookie_is_the_hosts_own() -> None:
    async with people(base_url="https://tools.example") as site:
        await site.add("ann")
        jar = site.browser()
        kept = session_cookie(await sign_in(jar, "ann"))
        assert kept.startswith("__Host-valetkey=vks_")
        assert "secure" in kept.lower()
        assert "domain" not in kept.lower()
        assert (await jar.get("/account")).status == 200


@pytest.mark.requirement("A-20")
async def test_a_session_id_is_random_and_is_not_what_the_database_keeps(site: People) -> None:
    jar = await site.signed_in("ann")
    value = jar.cookies["valetkey"]
    assert re.fullmatch(r"vks_[\w-]{22}_[\w-]{43}_[\w-]{6}", value)  # 43 of base64url: 32 random bytes
    (row,) = await site.identity.system.stores.tokens.page()
    assert value not in repr(row)
    assert value not in row.digest


@pytest.mark.requirement("A-20")
async def test_a_session_id_given_beforehand_is_never_taken_over(site: People) -> None:
    """Session fixation: what an attacker planted stays worth nothing."""
    await site.add("ann")
    jar = site.browser()
    for planted in ("vks_planted", "vks_" + "x" * 70):
        jar.cookies["valetkey"] = planted
        assert (await sign_in(jar, "ann")).status == 303
        assert jar.cookies["valetkey"] != planted
        del jar.cookies["valetkey"]


async def test_signing_in_again_ends_the_session_before(site: People) -> None:
    jar = await site.signed_in("ann")
    shown = await jar.get("/sign-in")
    assert (shown.status, shown.header("location")) == (303, "/account")
    before = jar.cookies["valetkey"]
    other = site.browser()
    form = await other.get("/sign-in")
    other.cookies["valetkey"] = before
    answer = await other.submit("/sign-in", form, name="ann", password=PASSWORD)
    assert answer.status == 303
    assert other.cookies["valetkey"] != before
    assert (await jar.get("/account")).status == 303


@pytest.mark.requirement("A-20")
async def test_a_session_in_the_address_signs_nobody_in(site: People) -> None:
    jar = await site.signed_in("ann")
    value = jar.cookies["valetkey"]
    answer = await site.browser().get(f"/account?valetkey={value}")
    assert answer.status == 401
    assert value not in answer.text


async def test_a_wrong_name_and_a_wrong_password_get_one_answer(site: People) -> None:
    await site.add("ann")
    texts = set()
    for name, password in (("ann", "wrong wrong wrong"), ("nobody", PASSWORD), ("ann", ""), ("", "")):
        answer = await sign_in(site.browser(), name, password)
        assert answer.status == 401
        assert not [value for key, value in answer.headers if key == "set-cookie" and value.startswith("valetkey=")]
        assert password not in answer.text or not password
        texts.add(answer.text.partition('role="alert"')[2].partition("</p>")[0])
    assert len(texts) == 1
    assert "That name and password" in texts.pop()


@pytest.mark.requirement("d29.sign-ins")
async def test_too_many_tries_are_told_when_to_come_back() -> None:
    async with people(clock=ManualClock()) as site:
        await site.add("ann")
        jar = site.browser()
        for _ in range(10):
            assert (await sign_in(jar, "ann", "wrong wrong wrong")).status == 401
        answer = await sign_in(jar, "ann")
        assert answer.status == 429
        assert "Too many failed sign-ins" in answer.text
        site.clock.advance(float(answer.header("retry-after") or 0))
        assert (await sign_in(jar, "ann")).status == 303


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "/\\evil.example",
        "/%09/evil.example",
        "https:evil.example",
        "https://evil.example/",
        "javascript:alert(1)",
        "http://localhost:9527@evil.example/",
        "/..//evil.example",
        "/a\r\nlocation: https://evil.example",
        "evil.example",
    ],
)
async def test_after_signing_in_nobody_is_sent_elsewhere(site: People, target: str) -> None:
    await site.add("ann")
    jar = site.browser()
    answer = await jar.submit("/sign-in", await jar.get("/sign-in"), name="ann", password=PASSWORD, next=target)
    assert (answer.status, answer.header("location")) == (303, "/account")


async def test_a_page_of_ours_is_come_back_to(site: People) -> None:
    await site.add("ann")
    jar = site.browser()
    sent = await jar.get("/account/tokens/x/end?a=1")
    assert sent.status == 303
    where = sent.header("location") or ""
    answer = await jar.submit(where, await jar.get(where), name="ann", password=PASSWORD)
    assert answer.header("location") == "/account/tokens/x/end?a=1"


@pytest.mark.requirement("O-20")
async def test_opening_a_link_of_another_site_signs_nobody_in(site: People) -> None:
    """O-20: a cross-site GET shows the form, and a cross-site form is refused."""
    await site.add("ann")
    jar = site.browser()
    url = f"/sign-in?name=ann&password={PASSWORD.replace(' ', '+')}"
    shown = await jar.get(url, sec_fetch_site="cross-site")
    assert shown.status == 200
    assert "valetkey" not in jar.cookies
    for headers in ({"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-site"}, {"content_type": "text/plain"}):
        answer = await jar.submit("/sign-in", shown, headers=headers, name="ann", password=PASSWORD)
        assert answer.status == 403
        assert "valetkey" not in jar.cookies


@pytest.mark.requirement("O-20")
async def test_a_form_without_its_token_or_with_another_browsers_is_refused(site: People) -> None:
    await site.add("ann")
    jar, other = site.browser(), site.browser()
    await jar.get("/sign-in")
    foreign = await other.get("/sign-in")
    assert (await jar.post("/sign-in", {"name": "ann", "password": PASSWORD})).status == 403
    assert (await jar.submit("/sign-in", foreign, name="ann", password=PASSWORD)).status == 403


async def test_with_no_account_at_all_the_page_says_what_to_do(site: People) -> None:
    answer = await site.browser().get("/sign-in")
    assert answer.status == 200
    assert "valetkey users add NAME --admin" in answer.text
    assert "<form" not in answer.text


@pytest.mark.requirement("W-11")
async def test_a_name_is_shown_as_text_only(site: People) -> None:
    await site.add("ann")
    answer = await sign_in(site.browser(), '"><script>alert(1)</script>', "wrong wrong wrong")
    assert "<script" not in answer.text
    assert "&#34;&gt;&lt;script&gt;" in answer.text


@pytest.mark.requirement("A-19", "W-19", "C4.pages")
async def test_signing_out_ends_the_session_and_leaves_nothing_behind(site: People) -> None:
    jar = await site.signed_in("ann")
    value = jar.cookies["valetkey"]
    answer = await jar.submit("/account", await jar.get("/account"), form="/sign-out")
    assert (answer.status, answer.header("location")) == (303, "/sign-in")
    assert "valetkey" not in jar.cookies
    jar.cookies["valetkey"] = value
    again = await jar.get("/account")
    assert (again.status, again.header("location")) == (303, "/sign-in?next=/account")
    assert "valetkey" not in jar.cookies


async def test_a_session_ends_by_itself() -> None:
    """A-19: after 8 hours without use, and after 14 days with it."""
    async with people(clock=ManualClock()) as site:
        jar = await site.signed_in("ann")
        site.clock.advance(7 * 3600)
        assert (await jar.get("/account")).status == 200
        site.clock.advance(8 * 3600 + 61)
        assert (await jar.get("/account")).status == 303
        again = await site.signed_in("ann")
        for _ in range(2 * 14 * 2 - 1):
            site.clock.advance(6 * 3600)
            assert (await again.get("/account")).status == 200
        site.clock.advance(6 * 3600)
        assert (await again.get("/account")).status == 303


@pytest.mark.requirement("A-19")
@pytest.mark.parametrize("change", ["password", "roles", "disabled"])
async def test_a_change_of_the_account_ends_its_sessions(site: People, change: str) -> None:
    jar, accounts = await site.signed_in("ann"), site.identity.accounts
    if change == "password":
        await accounts.set_password("ann", Secret("another long password"))
    elif change == "roles":
        await accounts.set_roles("ann", ["editor"])
    else:
        await accounts.disable("ann")
    assert (await jar.get("/account")).status == 303


@pytest.mark.requirement("A-19")
async def test_signing_out_everywhere_ends_every_session(site: People) -> None:
    here, there, bobs = await site.signed_in("ann"), await site.signed_in("ann"), await site.signed_in("bob")
    answer = await here.submit("/account", await here.get("/account"), form="/sign-out", everywhere="yes")
    assert answer.status == 303
    assert (await there.get("/account")).status == 303
    assert (await bobs.get("/account")).status == 200


async def test_nobody_is_signed_out_by_another_site(site: People) -> None:
    jar = await site.signed_in("ann")
    assert (await jar.get("/sign-out")).status == 405
    assert (await jar.post("/sign-out", {})).status == 403
    # The session does not count on a form of another site: nothing ends, in that browser or elsewhere.
    await jar.post("/sign-out", {}, sec_fetch_site="cross-site")
    assert len(await site.identity.system.stores.tokens.of_principal("valetkey", "local|ann")) == 1


async def test_a_programs_key_opens_no_page(site: People) -> None:
    await site.signed_in("ann")
    account = await site.identity.accounts.get("ann")
    assert account is not None
    accounts = site.identity.accounts
    key, _ = await site.identity.tokens.issue(
        TokenKind.API_KEY, accounts.user_of(account), accounts.owner_of(account), expires_in=60
    )
    answer = await site.browser().get("/account", authorization=f"Bearer {key.reveal()}")
    assert answer.status == 303


async def test_a_browser_with_two_sessions_is_told_so(site: People) -> None:
    jar = await site.signed_in("ann")
    answer = await jar.get("/account", cookie="valetkey=other")
    assert answer.status == 400
    assert "more than one credential" in answer.text


@pytest.mark.parametrize("path", ["/sign-in", "/account"])
async def test_the_form_of_a_page_that_was_open_for_a_quarter_of_an_hour_is_taken(path):
    """The sign-in page left in a tab; "Sign out" on an account page after a coffee. A browser drops its cookie."""
    async with people() as place:
        await place.add("ann")
        jar = await place.signed_in("ann") if path == "/account" else place.browser()
        shown = await jar.get(path)
        for name, value in shown.headers:
            if name == "set-cookie" and "-form-" in value:
                seconds = int(value.partition("Max-Age=")[2].partition(";")[0] or 10**9)
                if seconds < 15 * 60:
                    del jar.cookies[value.partition("=")[0]]
        sent = (
            await jar.submit(path, shown, form="/sign-out")
            if path == "/account"
            else await jar.submit(path, shown, name="ann", password=PASSWORD)
        )
        assert sent.status == 303, sent.text


async def test_another_sites_form_signs_nobody_out():
    """W-13. The cookie is taken from the browser, and the session lives on at the server."""
    async with people() as place:
        jar = await place.signed_in("ann")
        session = jar.cookies["valetkey"]
        sent = await jar.post("/sign-out", {}, sec_fetch_site="cross-site", origin="https://evil.example")
        assert sent.status == 403 or jar.cookies.get("valetkey") == session, sent.headers
