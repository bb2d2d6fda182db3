"""My account: what is mine is shown and ended, what is another's is not there."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.responses import Response

from tests.web.asgi import Answer, Reading
from tests.web.people import PASSWORD, People, people, sign_in
from valetkey.model.caller import OURS, Caller, Owner
from valetkey.model.calls import BEARER, Presented
from valetkey.model.connections import Cause, Health
from valetkey.model.tokens import Token, TokenKind
from valetkey.model.users import UserInfo
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock


@pytest.fixture
async def site() -> AsyncIterator[People]:
    async with people() as opened:
        yield opened


async def tokens_of(site: People, name: str, *kinds: TokenKind) -> list[Token]:
    rows = await site.identity.system.stores.tokens.of_principal("valetkey", f"local|{name}")
    return [row for row in rows if not kinds or row.kind in kinds]


async def caller_of(site: People, key: str) -> Caller:
    return await site.identity.chain.identify(Presented(scheme=BEARER, value=Secret(key)))


async def make_key(jar: Any, **fields: str) -> Answer:
    page = await jar.get("/account")
    about = {"name": "report", "life": "90", **fields}
    made: Answer = await jar.submit("/account", page, form="/account/keys", **about)
    return made


def key_in(answer: Answer) -> str:
    found = re.findall(r"vk_[\w-]+", answer.text)
    assert len(found) == 1
    return str(found[0])


@pytest.mark.requirement("C4.pages")
async def test_the_page_says_who_i_am(site: People) -> None:
    jar = await site.signed_in("ann", "editor")
    text = (await jar.get("/account")).text
    for said in ("local|ann", "ws-user-local|ann", "editor", "this browser"):
        assert said in text
    assert "No account is connected." in text
    assert "There is neither a key nor a token." in text
    assert "/admin" not in text


async def test_another_session_can_be_ended_and_this_one_is_marked(site: People) -> None:
    here, there = await site.signed_in("ann"), await site.signed_in("ann")
    text = (await here.get("/account")).text
    assert text.count("this browser") == 1
    (path,) = set(re.findall(r"/account/tokens/[\w-]+/end", text))
    asked = await here.get(path)
    assert "End the session of Firefox on Linux?" in asked.text
    assert (await there.get("/account")).status == 200
    answer = await here.submit(path, asked)
    assert (answer.status, answer.header("location")) == (303, "/account")
    assert (await there.get("/account")).status == 303
    assert (await here.get("/account")).status == 200


async def test_all_others_can_be_ended_at_once(site: People) -> None:
    here, others = await site.signed_in("ann"), [await site.signed_in("ann") for _ in range(2)]
    bobs = await site.signed_in("bob")
    answer = await here.submit("/account", await here.get("/account"), form="/others/end")
    assert answer.status == 303
    assert [(await jar.get("/account")).status for jar in [here, *others, bobs]] == [200, 303, 303, 200]


@pytest.mark.requirement("C3.keys")
async def test_an_api_key_is_shown_once_and_works(site: People) -> None:
    jar = await site.signed_in("ann")
    answer = await make_key(jar, name="report <b>", may="rw")
    assert answer.status == 200
    assert answer.header("cache-control") == "no-store"
    assert "<b>" not in answer.text
    key = key_in(answer)
    caller = await caller_of(site, key)
    assert caller.user is not None
    assert caller.user.id == "local|ann"
    shown = (await jar.get("/account")).text
    assert "report &lt;b&gt;" in shown
    assert "read and write in ws-user-local|ann" in shown
    assert key not in shown


@pytest.mark.requirement("C3.keys")
@pytest.mark.parametrize(
    ("may", "permission", "everywhere", "roles"),
    [("r", "r", None, []), ("rw", "rw", None, []), ("a", "a", None, []), ("all", "a", "a", ["admin"])],
)
async def test_a_key_may_what_was_chosen_and_no_more(
    site: People, may: str, permission: str, everywhere: str | None, roles: list[str]
) -> None:
    jar = await site.signed_in("ann", "admin")
    caller = await caller_of(site, key_in(await make_key(jar, may=may)))
    assert caller.user is not None
    assert caller.user.get_permission("ws-user-local|ann") == permission
    assert caller.user.get_permission("ws-other") == everywhere
    assert caller.user.roles == roles


@pytest.mark.parametrize(("life", "days"), [("7", 7), ("365", 365), ("", None)])
async def test_a_key_ends_when_it_was_said(life: str, days: int | None) -> None:
    async with people(clock=ManualClock()) as site:
        jar = await site.signed_in("ann")
        await make_key(jar, life=life, may="r")
        (row,) = await tokens_of(site, "ann", TokenKind.API_KEY)
        assert row.expires_at == (None if days is None else site.clock.now() + days * 86_400)


@pytest.mark.parametrize("fields", [{"life": "100000"}, {"may": "everything"}, {"may": "*"}])
async def test_a_choice_that_the_form_has_not_makes_no_key(site: People, fields: dict[str, str]) -> None:
    jar = await site.signed_in("ann")
    assert (await make_key(jar, **fields)).status == 400
    assert await tokens_of(site, "ann", TokenKind.API_KEY) == []


async def test_a_key_outlives_the_session_and_ends_when_it_is_revoked(site: People) -> None:
    jar = await site.signed_in("ann")
    key = key_in(await make_key(jar, may="r"))
    await jar.submit("/account", await jar.get("/account"), form="/sign-out")
    await caller_of(site, key)
    assert (await sign_in(jar, "ann", PASSWORD)).status == 303
    (path,) = set(re.findall(r"/account/tokens/[\w-]+/end", (await jar.get("/account")).text))
    asked = await jar.get(path)
    assert "Revoke report?" in asked.text
    assert (await jar.submit(path, asked)).status == 303
    with pytest.raises(Exception, match="revoked"):
        await caller_of(site, key)


async def test_ending_this_session_signs_out(site: People) -> None:
    jar = await site.signed_in("ann")
    (row,) = await tokens_of(site, "ann")
    path = f"/account/tokens/{row.id}/end"
    answer = await jar.submit(path, await jar.get(path))
    assert answer.header("location") == "/sign-in"
    assert "valetkey" not in jar.cookies


@pytest.mark.requirement("B5.server", "C4.pages")
async def test_a_connected_account_is_described_and_disconnected_after_a_question(site: People) -> None:
    jar = await site.signed_in("ann")
    connection = await site.connect("ann", account="ann@team", profile="work")
    text = (await jar.get("/account")).text
    for said in ("Slack", "ann@team", "work", "Connected", "channels:read"):
        assert said in text
    assert "xoxb-secret" not in text
    path = f"/account/connections/{connection.id}/disconnect"
    asked = await jar.get(path)
    assert "Disconnect Slack?" in asked.text
    assert len(await site.identity.system.stores.connections.of_owner(connection.owner)) == 1
    answer = await jar.submit(path, asked)
    assert (answer.status, answer.header("location")) == (303, "/account")
    assert await site.identity.system.stores.connections.of_owner(connection.owner) == []


@pytest.mark.requirement("B5.server")
@pytest.mark.parametrize(
    ("health", "cause", "said"),
    [
        (Health.NEEDS_REAUTH, Cause.REFUSED, "Has to be connected again"),
        (Health.TRANSIENT, Cause.UNAVAILABLE, "Renewing it did not work yet"),
        (Health.CONFIG_ERROR, Cause.SETUP, "settings are wrong"),
    ],
)
async def test_a_connection_that_fares_badly_says_why(site: People, health: Health, cause: Cause, said: str) -> None:
    jar = await site.signed_in("ann")
    await site.connect("ann", health=health, cause=cause, reason="<i>no</i>", refreshable=True)
    text = (await jar.get("/account")).text
    assert said in text
    assert "&lt;i&gt;no&lt;/i&gt;" in text


async def test_a_provider_that_is_gone_is_still_shown(site: People) -> None:
    jar = await site.signed_in("ann")
    await site.connect("ann", provider="gone_since")
    assert "gone_since" in (await jar.get("/account")).text


@pytest.mark.requirement("A-07", "A-14", "L-10")
async def test_what_is_anothers_is_not_there(site: People) -> None:
    """A-14 for these pages: another's id, an admin's view included, is answered as one that nobody has."""
    anns, bobs = await site.signed_in("ann"), await site.signed_in("bob", "admin")
    key = key_in(await make_key(anns, may="r"))
    connection = await site.connect("ann")
    ids = [row.id for row in await tokens_of(site, "ann")]
    paths = [f"/account/tokens/{each}/end" for each in [*ids, "x" * 22]]
    paths += [f"/account/connections/{each}/disconnect" for each in (connection.id, "0" * 32)]
    form = await bobs.get("/account")
    csrf = re.findall(r'name="csrf" value="([^"]+)"', form.text)[0]
    texts = set()
    for path in paths:
        shown = await bobs.get(path)
        sent = await bobs.post(path, {"csrf": csrf})
        assert (shown.status, sent.status) == (404, 404), path
        texts |= {re.sub(r"Reference <code>[^<]*", "", answer.text) for answer in (shown, sent)}
    assert len(texts) == 1
    assert len(await tokens_of(site, "ann")) == 2
    assert (await anns.get("/account")).status == 200
    await caller_of(site, key)
    assert await site.identity.system.stores.connections.by_id(connection.id)
    text = form.text
    assert connection.id not in text
    assert not [each for each in ids if each in text]


async def test_nothing_changes_without_our_own_form(site: People) -> None:
    """W-13: every POST of a signed-in person, without a token, with another's, from another site, as plain text."""
    jar, other = await site.signed_in("ann", "admin"), await site.signed_in("bob")
    connection = await site.connect("ann")
    rows = await tokens_of(site, "ann")
    csrf = re.findall(r'name="csrf" value="([^"]+)"', (await jar.get("/account")).text)[0]
    foreign = re.findall(r'name="csrf" value="([^"]+)"', (await other.get("/account")).text)[0]
    posts = {
        "/account/keys": {"name": "x", "life": "7", "may": "r"},
        "/account/sessions/others/end": {},
        "/account/password": {
            "current": PASSWORD,
            "password": "another long password",
            "again": "another long password",
        },
        f"/account/tokens/{rows[0].id}/end": {},
        f"/account/connections/{connection.id}/disconnect": {},
        "/admin/accounts/bob/disable": {},
        "/sign-out": {},
    }
    posted = {route.path for route in site.routes if "POST" in (getattr(route, "methods", None) or ())}  # type: ignore[attr-defined]
    flows = {"/sign-in", "/login/{key}/answer", "/first-admin/{state}"}
    assert len(posted - flows) == len(posts)
    for path, fields in posts.items():
        for given, headers in (
            ({}, {}),
            ({"csrf": foreign}, {}),
            ({"csrf": csrf[:-1] + ("0" if csrf[-1] != "0" else "1")}, {}),
            ({"csrf": csrf}, {"content_type": "text/plain"}),
        ):
            answer = await jar.post(path, {**fields, **given}, **headers)
            assert answer.status == 403, (path, given, answer.status)
        # From another site the session does not count at all.
        answer = await jar.post(path, {**fields, "csrf": csrf}, sec_fetch_site="cross-site")
        if path == "/sign-out":
            assert answer.status == 403
            assert not any("valetkey=" in value for name, value in answer.headers if name == "set-cookie")
        else:
            assert answer.status == 303
            assert (answer.header("location") or "").startswith("/sign-in")
        assert len(await tokens_of(site, "ann")) == 1
    assert await site.identity.system.stores.connections.by_id(connection.id)
    bob = await site.identity.accounts.get("bob")
    assert bob is not None
    assert not bob.disabled


PUBLIC = {"/sign-in", "/sign-out", "/login/done", "/login/refused", "/public/apps/hypha-login/", "/first-admin/{state}"}
"""What nobody has to be signed in for; reviewed: none of them shows or changes what is somebody's."""


async def test_every_other_page_leads_to_the_sign_in(site: People) -> None:
    """A-13: a new route that is not on the list is looked at, too."""
    await site.add("ann")
    for route in site.routes:
        path, methods = route.path, route.methods - {"HEAD"}  # type: ignore[attr-defined]
        if path in PUBLIC:
            continue
        real = re.sub(r"{\w+}", "x", path)
        for method in methods:
            jar = site.browser()
            answer = await (jar.get(real) if method == "GET" else jar.post(real, {}))
            assert answer.status == 303, (method, path)
            assert (answer.header("location") or "").startswith("/sign-in?next=/"), (method, path)


@pytest.mark.requirement("W-14", "L-15")
async def test_every_page_is_strict_and_unframed(site: People) -> None:
    """W-12, W-14."""
    jar = await site.signed_in("ann", "admin")
    for path in ("/account", "/admin", "/login/done", "/login/refused", "/public/apps/hypha-login/", "/account/x"):
        answer = await jar.get(path)
        policy = answer.header("content-security-policy") or ""
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "script" not in policy
        assert answer.header("x-frame-options") == "DENY"
        assert answer.header("cache-control") == "no-store"
        reading = Reading(Response(answer.body))
        assert [len(reading.all(tag)) for tag in ("title", "h1", "main")] == [1, 1, 1]
        assert not {tag for tag, _ in reading.tags} & {"script", "link", "img", "iframe", "base"}


async def test_an_admin_sees_accounts_blocks_and_the_log(site: People) -> None:
    jar = await site.signed_in("ann", "admin")
    await site.add("bob")
    await site.identity.blocks.add("tool", "send_mail", reason="too much <b>", by="local|ann")
    await jar.submit("/sign-in", await site.browser().get("/sign-in"), name="bob", password="wrong wrong wrong")
    await site.identity.audit.drain()  # type: ignore[attr-defined]
    text = (await jar.get("/admin")).text
    for said in ("ann", "bob", "send_mail", "too much &lt;b&gt;", "sign_in", "account.add"):
        assert said in text


async def test_an_admin_disables_an_account_but_not_their_own(site: People) -> None:
    jar, bobs = await site.signed_in("ann", "admin"), await site.signed_in("bob")
    page = await jar.get("/admin")
    assert "/admin/accounts/ann/disable" not in page.text
    answer = await jar.submit("/admin", page, form="bob/disable")
    assert (answer.status, answer.header("location")) == (303, "/admin")
    assert (await bobs.get("/account")).status == 303
    assert (await sign_in(site.browser(), "bob")).status == 401
    csrf = re.findall(r'name="csrf" value="([^"]+)"', (await jar.get("/account")).text)[0]
    assert (await jar.post("/admin/accounts/ann/disable", {"csrf": csrf})).status == 400
    assert (await jar.post("/admin/accounts/nobody/disable", {"csrf": csrf})).status == 404


@pytest.mark.requirement("A-14")
async def test_the_admins_page_is_for_admins(site: People) -> None:
    jar = await site.signed_in("ann", "editor")
    assert (await jar.get("/admin")).status == 403
    csrf = re.findall(r'name="csrf" value="([^"]+)"', (await jar.get("/account")).text)[0]
    await site.add("bob")
    assert (await jar.post("/admin/accounts/bob/disable", {"csrf": csrf})).status == 403


async def test_what_i_connected_while_acting_in_another_workspace_is_shown_too(site: People) -> None:
    """A token for a team's workspace owns its connections there; they are mine still."""
    jar = await site.signed_in("ann")
    there = Owner(workspace="team-x", issuer=OURS, subject="local|ann")
    account = await site.identity.accounts.get("ann")
    assert account is not None
    user = site.identity.accounts.user_of(account)
    await site.identity.tokens.issue(TokenKind.API_KEY, user, there)
    connection = await site.connect("ann", owner=there)
    page = await jar.get("/account")
    assert connection.id in page.text
    path = f"/account/connections/{connection.id}/disconnect"
    assert (await jar.submit(path, await jar.get(path))).status == 303
    assert connection.id not in (await jar.get("/account")).text


async def test_a_new_password_takes_the_place_of_the_old_one_and_ends_all_else(site: People) -> None:
    jar, other = await site.signed_in("ann"), await site.signed_in("ann")
    page = await jar.get("/account/password")
    new = "a new and longer password"
    for fields, said in (
        ({"current": "not my password", "password": new, "again": new}, "not your password now"),
        ({"current": PASSWORD, "password": new, "again": f"{new}!"}, "differ"),
        ({"current": PASSWORD, "password": "short", "again": "short"}, "12"),
    ):
        wrong = await jar.submit("/account/password", page, form="", headers=None, **fields)
        assert (wrong.status, said in wrong.text) == (400, True)
    assert (await jar.submit("/account/password", page, current=PASSWORD, password=new, again=new)).status == 303
    assert (await jar.get("/account")).status == 200
    assert (await other.get("/account")).status == 303
    browser = site.browser()
    assert (
        await browser.submit("/sign-in", await browser.get("/sign-in"), name="ann", password=PASSWORD)
    ).status == 401
    assert (await browser.submit("/sign-in", await browser.get("/sign-in"), name="ann", password=new)).status == 303


async def test_a_password_is_not_guessed_on_the_page_that_changes_it(site: People) -> None:
    jar = await site.signed_in("ann")
    page = await jar.get("/account/password")
    guess = {"current": "a guess of somebody else", "password": "x" * 12, "again": "x" * 12}
    codes = [(await jar.submit("/account/password", page, form="", headers=None, **guess)).status for _ in range(11)]
    assert codes[-1] == 429


async def test_who_signs_in_elsewhere_has_no_password_here(site: People) -> None:
    jar = await site.signed_in("ann")
    user = UserInfo(id="corp|ann", roles=[])
    owner = Owner(workspace="ws-user-corp|ann", issuer="https://corp.example", subject="ann")
    secret, _ = await site.identity.tokens.issue(TokenKind.SESSION, user, owner)
    jar.cookies["valetkey"] = secret.reveal()
    assert "password" not in (await jar.get("/account")).text
    assert (await jar.get("/account/password")).status == 404
