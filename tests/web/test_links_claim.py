"""The page that a link leads to: what it shows and to whom, what it never does, and how a host program confirms."""

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from starlette.responses import Response

from tests.web.asgi import request_of
from tests.web.links_kit import BASE, Jar, Site, google, opened, user
from valetkey import AuthExpired, AuthProvider, Denied, Pocket, function_tool
from valetkey.entrypoints.web.interaction import Claims, confirm_link
from valetkey.entrypoints.web.session import Browsers
from valetkey.errors import InvalidAnswer, NotFound, Unauthenticated
from valetkey.identity.verifiers.vouched import named, owner_of
from valetkey.interactions.browser import claim_of
from valetkey.model.caller import Owner
from valetkey.model.calls import Presented
from valetkey.model.interactions import Phase
from valetkey.model.users import UserInfo, create_scope
from valetkey.providers.registry import Registry

ANN: Any = user("ann")  # for Pocket, whose thread_id is a text by its contract
BOB: Any = user("bob")
CALENDAR = "https://www.googleapis.com/auth/calendar"
server = google
site = opened


@function_tool(auth_provider=AuthProvider.GOOGLE, scopes=[CALENDAR])
def read_calendar(**kwargs):
    """Read it."""
    return "read"


@function_tool(auth_provider=AuthProvider.ZOOM, scopes=["meeting:read"])
def read_zoom(**kwargs):
    """Read it."""
    return "read"


async def link_of(site: Site, who=ANN, *, tool="read_calendar") -> str:
    said, waits = await Pocket(tools=[read_calendar, read_zoom]).ainvoke_with_state(tool, {}, thread_id=who)
    assert waits
    return said.rpartition(" ")[2]


async def back(server, onward: str) -> str:
    """Where the provider sends whoever consents."""
    return await asyncio.to_thread(server.approve, onward)


@pytest.mark.requirement("L-15", "W-21", "C4.connect")
async def test_the_page_tells_who_asks_for_what_for_whom_and_where_it_leads(site, server):
    link = await link_of(site)
    shown = await site.browser(ANN).get(link)
    for said in ("crew.py", "read_calendar", "Google", CALENDAR, "local|ann", "ws-user-local|ann", server.url[7:]):
        assert said in shown.text, said
    assert shown.header("x-frame-options") == "DENY"
    policy = shown.header("content-security-policy") or ""
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy
    assert f"form-action 'self' https: {server.url};" in policy + ";"
    assert 'name="csrf"' in shown.text
    assert parse_qs(urlsplit(link).query) == {}
    # The state is what a callback is made of: it is on no page and in no link of ours.
    state = site.system.interactions.payload(await site.row(link))["state"]
    assert state not in shown.text + link


@pytest.mark.requirement("L-17", "L-03")
async def test_opening_a_link_claims_nothing_sends_nowhere_and_sets_no_session(site):
    link, ann = await link_of(site), site.browser(ANN)
    for url in (link, f"{link}?session={ann.cookies['valetkey']}&user_id=local%7Cbob"):
        for jar in (ann, site.browser()):
            for method in ("GET", "HEAD"):
                before = dict(jar.cookies)
                answer = await jar.get(url, method=method, purpose="prefetch")
                assert answer.status in (200, 303)
                assert (answer.header("location") or "/sign-in").startswith("/sign-in")
                assert all("valetkey-form-" in name for name in set(jar.cookies) - set(before))
                assert jar.cookies.get("valetkey") == before.get("valetkey")
    row = await site.row(link)
    assert (row.phase, row.claimed_by) == (Phase.OPEN, "")


@pytest.mark.requirement("L-15")
async def test_a_form_of_another_site_or_of_another_session_claims_nothing(site):
    link, ann = await link_of(site), site.browser(ANN)
    shown = await ann.get(link)
    hidden = {"answer": "yes"}
    for headers in ({"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-site"}, {"origin": "https://evil.test"}):
        assert (await ann.post(link, hidden, **headers)).status in (303, 403)
    assert (await ann.post(link, hidden)).status == 403  # without the page's own field
    ann.cookies["valetkey"] = site.sessions.begin(ANN)
    assert (await ann.submit(link, shown, answer="yes")).status == 403  # shown to the session before
    assert (await site.row(link)).phase is Phase.OPEN


@pytest.mark.requirement("L-09")
async def test_nothing_in_a_request_says_who_the_owner_is(site, server):
    link, bob = await link_of(site), site.browser(BOB)
    for answer in (
        await bob.get(f"{link}?user_id=local%7Cann&tenant=ws-user-local%7Cann&connection_id=1"),
        await bob.get(link, x_user_id="local|ann", x_forwarded_user="local|ann", x_workspace="ws-user-local|ann"),
        await bob.get(link, authorization="Bearer vks_0000"),  # a program's token opens no page
    ):
        assert answer.status in (303, 403)
    ann = site.browser(ANN)
    sent = await ann.submit(link, await ann.get(link), answer="yes", user_id="local|bob", workspace="w", owner="bob")
    await ann.get(await back(server, sent.header("location") or ""))
    (held,) = await site.system.stores.connections.of_owner(owner_of(ANN))
    assert (held.owner.workspace, held.owner.subject) == ("ws-user-local|ann", "local|ann")
    assert await site.system.stores.connections.of_owner(owner_of(BOB)) == []


@pytest.mark.requirement("L-10", "A-14", "E-05")
async def test_somebody_elses_id_is_as_one_that_is_not_there(site, server):
    ann, bob = site.browser(ANN), site.browser(BOB)
    done = await ann.get(await back(server, await ann.claim(await link_of(site))))
    theirs = urljoin(f"{BASE}/auth/google/oauth2/callback", done.header("location") or "")
    assert (await ann.get(theirs)).status == 200
    missing = await bob.get(f"{BASE}/auth/google/result/{'0' * 64}")
    there = await bob.get(theirs)
    assert (there.status, there.body) == (missing.status, missing.body) == (404, missing.body)
    for odd in ("0" * 64, "0", "..%2f..%2f", "%00", "A" * 64):
        assert (await bob.get(f"{BASE}/connect/{odd}")).status == 404


@pytest.mark.requirement("L-18", "O-02", "O-03")
async def test_a_link_that_was_used_or_is_too_old_is_410(site, server):
    link, ann = await link_of(site), site.browser(ANN)
    callback = await back(server, await ann.claim(link))
    assert (await ann.get(callback)).status == 303
    assert (await ann.get(callback)).status == 400  # the same once more
    assert (await ann.get(link)).status == 410
    assert (await ann.post(link, {"answer": "yes"})).status == 410
    assert server.exchanges == 1

    other = await link_of(site, BOB)
    bob = site.browser(BOB)
    late = await back(server, await bob.claim(other))
    site.system.clock.advance(601)
    assert (await bob.get(other)).status == 410
    told = await bob.get(late)
    assert (await bob.get(urljoin(late, told.header("location") or ""))).status == 410
    assert server.exchanges == 1


@pytest.mark.requirement("L-04")
async def test_where_a_callback_ends_is_fixed_and_no_parameter_of_a_request(site, server):
    link, ann = await link_of(site), site.browser(ANN)
    onward = await ann.claim(f"{link}?next=https://evil.test/&redirect_uri=https://evil.test/")
    assert parse_qs(urlsplit(onward).query)["redirect_uri"] == [f"{BASE}/auth/google/oauth2/callback"]
    callback = await back(server, onward)
    done = await ann.get(f"{callback}&next=https://evil.test/&return_to=https://evil.test/")
    assert done.header("location") == f"../result/{(await site.row(link)).id}"


@pytest.mark.requirement("L-06")
async def test_no_two_providers_share_a_redirect_uri(site):
    handlers = [site.system.handling.find(None, name) for name in Registry(("",)).names()]
    uris = [site.system.links.redirect_uri(handler) for handler in handlers]
    assert len(set(uris)) == len(uris) > 20


@pytest.mark.requirement("L-08", "O-14")
async def test_a_callback_at_another_providers_address_or_with_two_states_is_400(site, server):
    link, ann = await link_of(site), site.browser(ANN)
    callback = await back(server, await ann.claim(link))
    assert (await ann.get(callback.replace("/google/", "/zoom/"))).status == 400
    state = parse_qs(urlsplit(callback).query)["state"][0]
    assert (await ann.get(f"{callback}&state={state}")).status == 400
    assert server.exchanges == 0
    assert (await ann.get(callback)).status == 303


@pytest.mark.requirement("O-37")
async def test_two_connections_of_one_person_at_once_both_finish(site, server):
    ann = site.browser(ANN)
    first, second = await link_of(site), await link_of(site, tool="read_zoom")
    ways = [await ann.claim(first), await ann.claim(second)]
    for onward in reversed(ways):
        assert (await ann.get(await back(server, onward))).status == 303
    held = await site.system.stores.connections.of_owner(owner_of(ANN))
    assert [row.provider for row in held] == ["google", "zoom"]


async def test_an_attackers_no_and_error_end_nobodys_flow(site, server):
    link, ann, bob = await link_of(site), site.browser(ANN), site.browser(BOB)
    onward = await ann.claim(link)
    denied = await asyncio.to_thread(server.deny, onward)
    assert (await bob.get(denied)).status == 403
    assert (await site.browser().get(denied)).status == 403
    assert (await site.row(link)).phase is Phase.CLAIMED
    assert (await ann.get(await back(server, onward))).status == 303


@pytest.mark.requirement("L-16")
async def test_a_page_whose_question_was_widened_meanwhile_is_shown_again(site, server):
    link, ann = await link_of(site), site.browser(ANN)
    shown = await ann.get(link)
    row = await site.row(link)
    payload = site.system.interactions.payload(row)
    await site.system.interactions.amend(row, payload=payload, about={**row.about, "scopes": [CALENDAR, "all.mail"]})
    again = await ann.submit(link, shown, answer="yes")
    assert (again.status, "has changed" in again.text, "all.mail" in again.text) == (409, True, True)
    assert (await site.row(link)).phase is Phase.OPEN
    assert (await ann.submit(link, again, answer="yes")).status == 303


async def test_a_session_that_ended_meanwhile_has_to_sign_in_and_begin_again(site, server):
    link, ann = await link_of(site), site.browser(ANN)
    callback = await back(server, await ann.claim(link))
    site.sessions.given.pop(ann.cookies["valetkey"])
    refused = await ann.get(callback)
    assert refused.status == 403
    assert f"/sign-in?next=/connect/{(await site.row(link)).id}" in refused.text
    again = site.browser(ANN)
    assert (await again.get(await back(server, await again.claim(link)))).status == 303
    assert server.exchanges == 1


# The confirming call of a host program with a sign-in of its own ------------------------------------------------------


async def confirmed(site: Site, link: str, thread: Any, jar: Jar | None = None) -> Jar:
    """The host program has authenticated the person, and confirms the link for their browser."""
    response, jar = Response(), jar or site.browser()
    request = request_of(headers=[("host", "localhost:9527")])
    await confirm_link(site.identity, request, response, link, thread_id=thread)
    cookie = response.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    name, _, value = cookie.partition(";")[0].partition("=")
    assert len(value) == 43
    assert value not in link
    jar.cookies[name] = value
    return jar


@pytest.mark.requirement("L-01", "L-02")
async def test_a_link_of_a_thread_is_for_the_browser_that_the_host_program_confirmed(site, server):
    link = await link_of(site, "thread-1")
    session = user("x", issuer="host")
    session._principal = ("host", "thread-1")  # no session is a thread, whatever it says it is
    for jar in (site.browser(), site.browser(BOB), site.browser(session)):
        refused = await jar.get(link)
        assert (refused.status, "Open this link in your program" in refused.text) == (403, True)
    person = await confirmed(site, link, "thread-1")
    callback = await back(server, await person.claim(link))
    for jar in (site.browser(), site.browser(BOB), site.browser(session)):
        assert (await jar.get(callback)).status == 403
    assert server.exchanges == 0
    assert (await person.get(callback)).status == 303
    assert len(await site.system.stores.connections.of_owner(owner_of("thread-1"))) == 1


async def test_a_confirmed_browser_can_be_replaced_and_the_one_before_is_out(site, server):
    link = await link_of(site, "thread-1")
    first = await confirmed(site, link, "thread-1")
    onward = await first.claim(link)
    second = await confirmed(site, link, "thread-1")
    callback = await back(server, onward)
    assert (await first.get(link)).status == 403
    assert (await first.get(callback)).status == 403
    assert (await second.get(callback)).status == 303


@pytest.mark.requirement("L-01")
async def test_a_host_program_cannot_confirm_a_link_for_another_thread(site):
    link = await link_of(site, "thread-1")
    for thread in ("thread-2", "local|ann", ANN):
        with pytest.raises(Denied, match="somebody else"):
            await confirmed(site, link, thread)
    assert site.audit.outcomes() == ["link_user_mismatch"] * 3
    assert (await site.row(link)).phase is Phase.OPEN
    with pytest.raises(Unauthenticated):
        await confirmed(site, link, UserInfo(id="thread-1", roles=[]))  # nobody vouched for this one
    for odd in ("", "https://evil.test/", f"{link}x", link[:-1]):
        with pytest.raises(InvalidAnswer):
            await confirmed(site, odd, "thread-1")
    with pytest.raises(NotFound):
        await confirmed(site, f"{BASE}/connect/{'0' * 64}", "thread-1")
    site.system.clock.advance(601)
    with pytest.raises(AuthExpired):
        await confirmed(site, link, "thread-1")


async def test_a_claim_cookie_of_one_link_opens_no_other_and_its_value_is_no_session_id(site):
    link, other = await link_of(site, "thread-1"), await link_of(site, "thread-2")
    person = await confirmed(site, link, "thread-1")
    assert (await person.get(link)).status == 200
    assert (await person.get(other)).status == 403
    ann = site.browser(ANN)
    theirs = await link_of(site)
    await ann.claim(theirs)
    thief = site.browser()
    row = await site.row(theirs)
    thief.cookies[f"valetkey-claim-{row.id[:12]}"] = ann.cookies["valetkey"].removeprefix("vks_")
    assert (await thief.get(theirs)).status == 303  # an id of a session is no secret, and no claim


@pytest.mark.parametrize(
    ("base", "name", "taken"),
    [
        ("https://app.example", "__Host-valetkey-claim-0123456789ab", True),
        ("https://app.example", "valetkey-claim-0123456789ab", False),
        ("http://localhost:9527", "valetkey-claim-0123456789ab", True),
        ("http://localhost:9527", "valetkey-claim-x", False),
    ],
)
async def test_by_https_only_the_host_itself_can_have_set_a_claim(site, base, name, taken):
    browsers = Browsers(chain=site.identity.chain, base_url=base)
    claims = Claims(browsers=browsers, interactions=site.system.interactions, audit=site.audit)
    host = base.partition("//")[2]
    found = await claims.browser(request_of(headers=[("host", host), ("cookie", f"{name}=nonce")]))
    assert (found.claims == {claim_of("cookie", "nonce")}) is taken


# Whose a call is ------------------------------------------------------------------------------------------------------


async def test_a_user_as_thread_id_is_that_principal_and_no_text_is(site, server):
    caller = await site.system.road.chain.identify(Presented(scheme="host", value=named(ANN)))
    assert (caller.principal, caller.user) == (("valetkey", "local|ann"), ANN)  # so that a block of the user holds
    pocket = Pocket(tools=[read_calendar])
    ann = site.browser(ANN)
    (prompt,) = await pocket.initialize_tool_auth(thread_id=ANN)
    await ann.get(await back(server, await ann.claim(prompt.url)))
    assert await pocket.ainvoke("read_calendar", {}, thread_id=ANN) == "read"
    for text in ("local|ann", json.dumps(["valetkey", "local|ann"]), "valetkey local|ann"):
        assert (await pocket.ainvoke_with_state("read_calendar", {}, thread_id=text))[1]


@pytest.mark.parametrize(("issuer", "workspace"), [("valetkey", "team"), ("https://idp.test/", "ws-user-local|x")])
def test_only_a_token_of_ours_says_in_which_workspace_its_user_acts(issuer, workspace):
    who = user("x", issuer=issuer)
    who.scope = create_scope("team#rw", current_workspace="team")
    assert owner_of(who) == Owner(workspace=workspace, issuer=issuer, subject="local|x")
