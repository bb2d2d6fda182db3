"""The pages of a device code and of "is this your account": who sees them, what they show, and what they lead to."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urljoin

import pytest

from tests.connections.devices import DEVICE_CODE, PAGE, TOKENS, USER_CODE, DeviceServer, id_token, program
from tests.connections.test_device_flow import until
from tests.web.asgi import Answer
from tests.web.links_kit import Jar, Site, user
from valetkey import AuthProvider, AuthRefused, Denied, Pocket, function_tool
from valetkey.errors import InvalidAnswer, InvalidAuthState
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.interactions.states import RESOLVED, WAITING, Event
from valetkey.model.connections import Connection, Credential, Grant, Subject
from valetkey.model.interactions import Phase
from valetkey.model.needs import Need
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock
from valetkey.wiring import build

ANN: Any = user("ann")  # for Pocket, whose thread_id is a text by its contract
BOB: Any = user("bob")
OURS = owner_of(ANN)
ENDED = [TOKENS["refresh_token"], TOKENS["access_token"]]


@function_tool(auth_provider=AuthProvider.GITHUB)
def read_issues(**kwargs):
    """Read them."""
    return f"read with {len(kwargs['GITHUB_TOKEN'])}"


@pytest.fixture
def server() -> DeviceServer:
    return DeviceServer(ManualClock())


@pytest.fixture
async def site(server: DeviceServer) -> AsyncIterator[Site]:
    """The server of several people."""
    system = program(server)
    build.use(system)
    yield Site(system)
    await asyncio.to_thread(build.use, None)


def given(subject: str = "") -> dict[str, object]:
    return TOKENS | ({"id_token": id_token(subject)} if subject else {})


async def held(site: Site) -> Connection | None:
    return await site.system.stores.connections.get(OURS, "github", "default")


async def alice_is_there(site: Site) -> None:
    """The account that is connected before."""
    credential = Credential(
        access_token=Secret("at-alice"),
        client_id="me",
        subject=Subject(issuer="https://github.com", subject="alice", audience=frozenset({"me"})),
    )
    grant = Grant(credential=credential, scopes=frozenset(), account="alice@example.com")
    handler = site.system.handling.find("github-device")
    await site.system.keeper.keep(grant, handler, OURS, profile="default", asked=frozenset())


async def asked(site: Site) -> str:
    """A link, where nobody has an account, or to take another one's place."""
    interaction, _ = await site.system.connecting.again(OURS, Need(provider="github"), "default")
    return site.system.connecting.url(interaction)


async def entered(site: Site, server: DeviceServer, answer: object) -> None:
    """The person entered the code, and the provider's answer was fetched."""
    server.answers = [answer]
    polls = len(server.polled)
    await until(server.clock, lambda: len(server.polled) > polls and not server.answers)
    for _ in range(1000):
        rows = await site.system.stores.interactions.page()
        if not any(row.phase in RESOLVED or (row.phase in WAITING and not row.confirming) for row in rows):
            return
        await asyncio.sleep(0.005)
    raise AssertionError("the answer was not acted on")


async def page_of(jar: Jar, link: str) -> tuple[str, Answer]:
    onward = await jar.claim(link)
    return onward, await jar.get(onward)


@pytest.mark.requirement("G-06", "G-07", "L-17")
async def test_the_code_is_shown_to_the_owners_browser_with_the_host_it_belongs_to(site, server):
    link = await asked(site)
    assert "/connect/" in link
    for jar in (site.browser(), site.browser(BOB)):
        first = await jar.get(link)
        assert USER_CODE not in first.text
        assert first.status in (303, 403)
    ann = site.browser(ANN)
    onward, shown = await page_of(ann, link)
    assert shown.status == 200
    assert f"<code>{USER_CODE}</code>" in shown.text
    assert f'href="{PAGE}"' in shown.text
    assert "github.com" in shown.text.replace(PAGE, "")
    assert shown.header("refresh") == "5"
    assert "script" not in (shown.header("content-security-policy") or "").replace("style-src", "")
    assert "<script" not in shown.text
    assert DEVICE_CODE not in f"{shown.text}{shown.headers}"
    for jar in (site.browser(), site.browser(BOB)):
        theirs = await jar.get(onward)
        assert theirs.status == 403
        assert USER_CODE not in theirs.text


@pytest.mark.requirement("G-08")
async def test_an_account_that_came_without_a_browser_is_used_after_its_owner_said_yes(site, server):
    pocket = Pocket(tools=[read_issues])
    said, _ = await pocket.ainvoke_with_state("read_issues", {}, thread_id=ANN)
    assert USER_CODE not in said, "our own page shows it"
    waiting = asyncio.ensure_future(pocket.wait_tool_auth(thread_id=ANN))
    ann = site.browser(ANN)
    onward, _ = await page_of(ann, said.rpartition(" ")[2])
    await entered(site, server, given("mallory"))
    assert await held(site) is None
    assert not waiting.done()
    assert "URL" in await pocket.ainvoke("read_issues", {}, thread_id=ANN), "nothing uses it yet"
    # The page that shows the code leads on.
    where = onward
    for _ in range(2):
        moved = await ann.get(where)
        assert moved.status == 303
        where = urljoin(where, moved.header("location") or "")
    assert "/auth/github/confirm/" in where
    for jar in (site.browser(), site.browser(BOB)):
        assert (await jar.get(where)).status == 403
        assert (await jar.post(where, {"answer": "yes"})).status == 403
    row = await site.system.interactions.get(where.rpartition("/")[2])
    assert row is not None
    for yes in (True, False):
        with pytest.raises(Denied):  # nor by any other way than that browser
            await site.system.answering.decided(row, yes=yes)
    shown = await ann.get(where)
    assert "mallory" in shown.text
    assert (await ann.post(where, {"answer": "yes"})).status == 403, "no form of ours"
    sent = await ann.submit(where, shown, answer="yes")
    assert sent.status == 303
    assert await waiting is True
    assert (await ann.get(urljoin(where, sent.header("location") or ""))).status == 200
    assert await pocket.ainvoke("read_issues", {}, thread_id=ANN) == "read with 12"
    assert await site.system.stores.revocations.page() == []
    assert server.revoked == []


@pytest.mark.requirement("G-08")
async def test_a_no_and_a_silence_keep_nothing_and_revoke_it(site, server):
    for answer in ("no", None):
        server.then, server.revoked = "authorization_pending", []
        link = await asked(site)
        ann = site.browser(ANN)
        await page_of(ann, link)
        await entered(site, server, given())
        row = await site.row(link)
        assert row.confirming
        where = f"/auth/github/confirm/{row.id}"
        shown = await ann.get(where)
        assert "did not tell with which account" in shown.text
        if answer:
            sent = await ann.submit(where, shown, answer="no")
            assert (await ann.get(urljoin(where, sent.header("location") or ""))).status == 403
            assert server.revoked == ENDED
            assert (await ann.submit(where, shown, answer="yes")).status in (303, 400)
        else:
            server.clock.advance(601)
            assert (await ann.get(where)).status == 303
            assert server.revoked == []
            server.clock.advance(130)
            assert await site.system.revoker.catch_up() == 1
            assert server.revoked == ENDED
        assert await held(site) is None
        ended = await site.row(link)
        assert ended.phase is (Phase.REFUSED if answer else Phase.EXPIRED)
        assert "grant" not in site.system.interactions.payload(ended), "its tokens are not kept"
        assert await site.system.stores.revocations.page() == []


@pytest.mark.requirement("L-11")
async def test_another_account_than_the_one_that_is_connected_is_asked_about_and_the_old_one_kept_meanwhile(
    site, server
):
    await alice_is_there(site)
    for answer, owner in (("no", "at-alice"), ("yes", "at-canary-51")):
        server.then = "authorization_pending"
        link = await asked(site)
        ann = site.browser(ANN)
        await page_of(ann, link)
        await entered(site, server, given("bob"))
        before = await held(site)
        assert before is not None
        assert site.system.sealer.open_credential(before).access_token.matches("at-alice")
        row = await site.row(link)
        # The owner's link leads to the question now.
        where = (await ann.get(link)).header("location") or ""
        assert where.endswith(f"/auth/github/confirm/{row.id}")
        shown = await ann.get(where)
        assert "alice@example.com" in shown.text
        assert "bob" in shown.text
        assert "Replace it" in shown.text
        await ann.submit(where, shown, answer=answer)
        after = await held(site)
        assert after is not None
        assert site.system.sealer.open_credential(after).access_token.matches(owner)
        assert server.revoked == ENDED


@pytest.mark.requirement("L-11")
async def test_the_same_account_again_is_not_asked_about(site, server):
    await alice_is_there(site)
    link = await asked(site)
    await page_of(site.browser(ANN), link)
    await entered(site, server, given("alice"))
    assert (await site.row(link)).phase is Phase.DONE
    after = await held(site)
    assert after is not None
    assert after.generation == 2
    assert await site.system.stores.revocations.page() == []


@pytest.mark.requirement("L-11")
async def test_in_a_script_too_and_for_the_code_grant_another_account_is_asked_about(server, monkeypatch):
    """One user, the authorization code grant, and no provider that is asked: what is obtained is told by hand."""
    system = program(server)
    build.use(system)
    try:
        kept = Site.__new__(Site)
        kept.system = system
        await alice_is_there(kept)
        handler = system.handling.find("github-oauth2")

        async def finish(flow: object, private: object, answer: object) -> Grant:
            whose = Subject(issuer="https://github.com", subject="bob", audience=frozenset({"me"}))
            return Grant(credential=Credential(access_token=Secret("at-bob"), subject=whose), scopes=frozenset())

        monkeypatch.setattr(handler, "finish", finish)
        need = Need(provider="github", handler="github-oauth2")
        flow, _ = await system.connecting.again(OURS, need, "default")
        state = system.interactions.payload(flow)["state"]
        callback = [("state", state), ("code", "c")]
        await system.answering.answered("github", callback)
        row = await system.interactions.get(flow.id)
        assert row is not None
        assert row.confirming
        assert system.connecting.url(row).endswith(f"/auth/github/confirm/{row.id}")
        # Nothing but the person's word moves it on: no callback again, no code of anybody else's.
        with pytest.raises(InvalidAnswer, match="used already"):
            await system.answering.answered("github", callback)
        with pytest.raises(InvalidAuthState):
            await system.interactions.move(row, Event.ANSWER, answer={"code": "d"})
        with pytest.raises(InvalidAuthState):
            await system.interactions.move(row, Event.ARRIVE, answer={})
        waiting = asyncio.ensure_future(system.answering.wait(row, handler))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await system.answering.decided(row, yes=False)
        with pytest.raises(AuthRefused, match="did not want this account"):
            await waiting
        with pytest.raises(InvalidAnswer):
            await system.answering.decided(row, yes=True)
        still = await held(kept)
        assert still is not None
        assert still.account == "alice@example.com"
    finally:
        await asyncio.to_thread(build.use, None)


async def test_a_state_that_is_no_device_flows_shows_no_page(site, server):
    link = await asked(site)
    onward, _ = await page_of(site.browser(ANN), link)
    ann = site.browser(ANN)
    assert (await ann.get("/auth/github/device?state=nothing")).status == 400
    assert (await ann.get("/auth/github/device")).status == 400
    assert (await ann.get(onward.replace("github", "google"))).status == 400
    assert (await ann.get("/auth/github/confirm/" + "0" * 64)).status == 404
    row = await site.row(link)
    assert (await ann.get(f"/auth/github/confirm/{row.id}")).status == 403
    code = await ann.get(f"/auth/github/oauth2/callback?code=x&{onward.partition('?')[2]}")
    assert code.status in (400, 403)
