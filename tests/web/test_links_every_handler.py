"""Two browsers: a link begun for one person is opened, claimed and answered by nobody else, whatever the handler."""

import asyncio
import importlib
import sys
import textwrap
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest

from tests.road.test_own_handler import PACKAGE
from tests.web.asgi import Answer
from tests.web.links_kit import BASE, STATE_AND_SUCH, Jar, Site, google, opened, sign_in_for, user
from valetkey import AuthProvider, Pocket, PocketAuth, function_tool
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.model.interactions import Phase
from valetkey.testing.oauth_server import OAuthServer

ANN, BOB = user("ann"), user("bob")
server = google
site = opened


@dataclass
class Way:
    """How an account is connected: its tool, and what a browser does once it was sent on."""

    pocket: Pocket
    provider: str
    answer: Callable[[Jar, str], Awaitable[Answer]]
    calls: int = 0
    """Requests to the token endpoint that finishing makes."""


def oauth2(site: Site, server: OAuthServer) -> Way:
    @function_tool(auth_provider=AuthProvider.GOOGLE, scopes=["https://www.googleapis.com/auth/calendar"])
    def use(**kwargs):
        """Use it."""

    async def answer(jar: Jar, url: str) -> Answer:
        return await jar.get(await asyncio.to_thread(server.approve, url))

    return Way(Pocket(tools=[use]), "google", answer, calls=1)


def pasted(site: Site, provider: str, handler: str, **values: str) -> Way:
    @function_tool(auth_provider=AuthProvider(provider), auth_handler=handler)
    def use(**kwargs):
        """Use it."""

    async def answer(jar: Jar, url: str) -> Answer:
        # Somebody else is not even shown the form; what a forged one brings is not taken either.
        state = parse_qs(urlsplit(url).query)["state"][0]
        shown = await jar.get(url)
        if shown.status == 200:
            return await jar.submit(url, shown, **values)
        assert "csrf" not in shown.text
        sent = await jar.post(url, {**site.forged(jar, state), **values})
        assert sent.status == shown.status
        return sent

    return Way(Pocket(tools=[use]), provider, answer)


def own(site: Site, package) -> Way:
    @function_tool(auth_provider=AuthProvider.LEDGER, scopes=["books:write"])
    def use(**kwargs):
        """Use it."""

    async def answer(jar: Jar, url: str) -> Answer:
        state = parse_qs(urlsplit(url).query)["state"][0]
        return await jar.get(f"{BASE}/auth/ledger/callback?state={state}&code=c1")

    return Way(Pocket(tools=[use], auth=PocketAuth(handlers=[package.LedgerHandler])), "ledger", answer)


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    text = textwrap.dedent(PACKAGE).replace('found.data["thread"] == "ann"', 'found.data["thread"] == "local|ann"')
    (folder / "ledger_auth.py").write_text(text, "utf-8")
    monkeypatch.syspath_prepend(str(folder))
    yield importlib.import_module("ledger_auth")
    sys.modules.pop("ledger_auth", None)


WAYS = ("oauth2", "token", "basic", "keypair", "own")


@pytest.fixture(params=WAYS)
def way(request, site: Site, server, package) -> Way:
    if request.param == "oauth2":
        return oauth2(site, server)
    if request.param == "own":
        return own(site, package)
    return {
        "token": lambda: pasted(site, "notion", "notion-token", access_token="ntn_0123456789"),
        "basic": lambda: pasted(site, "linkedin", "linkedin-basicauth", username="ann", password="pa55 w0rd"),
        "keypair": lambda: pasted(site, "kraken", "kraken-keypair", api_key="k" * 12, api_secret="s" * 12),
    }[request.param]()


async def link_of(way: Way, who=ANN) -> str:
    (prompt,) = await way.pocket.initialize_tool_auth(thread_id=who)
    return prompt.url


@pytest.mark.requirement("L-01", "L-02", "L-17", "C.shown-two-browsers")
async def test_a_link_opens_for_its_owner_only_and_says_nothing_before(way, site):
    link = await link_of(way)
    assert link.startswith(f"{BASE}/connect/")
    nobody, bob, ann = site.browser(), site.browser(BOB), site.browser(ANN)
    sent = await nobody.get(link)
    assert (sent.status, sent.header("location")) == (303, sign_in_for(link))
    refused = await bob.get(link)
    assert refused.status == 403
    assert "This is not your request" in refused.text
    for answer in (sent, refused):
        assert not STATE_AND_SUCH.search(answer.text + str(answer.headers)), "personal"
    assert (await site.row(link)).phase is Phase.OPEN
    (entry,) = [each for each in site.audit.entries if each.outcome == "link_user_mismatch"]
    assert (entry.issuer, entry.subject) == ("valetkey", "local|bob")
    assert (entry.details["owner_issuer"], entry.details["owner_subject"]) == ("valetkey", "local|ann")
    assert (await ann.get(link)).status == 200


@pytest.mark.requirement("L-01", "design.one-browser", "C4.connect")
async def test_a_link_is_claimed_by_its_owner_only(way, site):
    link = await link_of(way)
    row, bob = await site.row(link), site.browser(BOB)
    forged = site.forged(bob, f"connect {row.id} {bob.cookies['valetkey'].removeprefix('vks_')}")
    taken = await bob.post(link, {**forged, "shown": "x", "answer": "yes"})
    assert (taken.status, "Location" in taken.text) == (403, False)
    turned_down = await bob.post(link, {**forged, "answer": "no"})
    assert turned_down.status == 403
    assert (await site.row(link)).phase is Phase.OPEN
    assert (await site.browser().post(link, {"answer": "yes"})).status == 303  # to sign in
    assert (await site.row(link)).claimed_by == ""


@pytest.mark.requirement("L-01", "O-01", "O-05", "O-36", "O-38", "design.one-browser", "C.shown-two-browsers")
async def test_what_another_browser_brings_is_not_used_and_the_right_one_still_finishes(way, site, server):
    link = await link_of(way)
    ann, bob, nobody, elsewhere = site.browser(ANN), site.browser(BOB), site.browser(), site.browser(ANN)
    onward = await ann.claim(link)
    row = await site.row(link)
    assert row.phase is Phase.CLAIMED
    for jar, said in ((bob, "not your request"), (nobody, "Sign in to finish"), (elsewhere, "Go on in this browser")):
        if onward.startswith(BASE):
            assert (await jar.get(onward)).status == 403, "our form is shown to the claimer only"
        answer = await way.answer(jar, onward)
        assert answer.status == 403
        assert way.provider == "ledger" or said in answer.text
        assert await site.row(link) == row, "an attacker's request changed the interaction"
    assert server.exchanges == 0
    assert await site.system.stores.connections.of_owner(owner_of(ANN)) == []
    assert {"link_user_mismatch", "link_browser_mismatch"} <= set(site.audit.outcomes())

    done = await way.answer(ann, onward)
    assert done.status in (200, 303), done.text
    assert await way.pocket.wait_tool_auth(thread_id=ANN) is True
    (held,) = await site.system.stores.connections.of_owner(owner_of(ANN))
    assert (held.owner.issuer, held.owner.subject, held.provider) == ("valetkey", "local|ann", way.provider)
    assert server.exchanges == way.calls
    assert await site.system.stores.connections.of_owner(owner_of(BOB)) == []
    if done.status == 303:
        result = urljoin(
            onward if way.provider != "google" else f"{BASE}/auth/google/oauth2/callback", done.header("location") or ""
        )
        assert "is connected" in (await ann.get(result)).text
        assert (await bob.get(result)).status == (await nobody.get(result)).status == 404


@pytest.mark.requirement("O-36")
async def test_a_callback_after_the_user_was_switched_in_the_same_browser_is_refused(way, site, server):
    link = await link_of(way)
    jar = site.browser(ANN)
    onward = await jar.claim(link)
    jar.cookies["valetkey"] = site.sessions.begin(BOB)
    assert (await way.answer(jar, onward)).status == 403
    assert server.exchanges == 0
    assert (await site.row(link)).phase is Phase.CLAIMED


@pytest.mark.requirement("L-01")
async def test_an_answer_to_a_link_that_nobody_claimed_is_refused(way, site, server):
    link = await link_of(way)
    onward = str(site.system.interactions.payload(await site.row(link))["url"])
    for jar in (site.browser(), site.browser(ANN), site.browser(BOB)):
        assert (await way.answer(jar, onward)).status == 403
    assert server.exchanges == 0
    assert (await site.row(link)).phase is Phase.OPEN


async def test_its_owner_goes_on_in_another_browser_and_the_one_before_may_not_any_more(way, site, server):
    link = await link_of(way)
    first, second = site.browser(ANN), site.browser(ANN)
    await first.claim(link)
    onward = await second.claim(link)
    assert (await way.answer(first, onward)).status == 403
    assert server.exchanges == 0
    assert (await way.answer(second, onward)).status in (200, 303)
    assert await way.pocket.wait_tool_auth(thread_id=ANN) is True


async def test_a_person_says_no_on_our_page(way, site, server):
    link, ann = await link_of(way), site.browser(ANN)
    sent = await ann.submit(link, await ann.get(link), answer="no")
    assert sent.status == 303
    assert "was not connected" in (await ann.get(sent.header("location") or "")).text
    assert (await site.row(link)).phase is Phase.REFUSED
    assert (await ann.get(link)).status == 410
