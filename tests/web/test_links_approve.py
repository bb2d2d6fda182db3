"""The page on which a person approves one call: what it shows, to whom, and what it takes."""

import json
from html import unescape

import pytest

from tests.web.links_kit import BASE, Site, google, opened, sign_in_for, user
from valetkey import ApprovalRequired
from valetkey.identity.chain import Chain
from valetkey.identity.verifiers.vouched import Vouched, named
from valetkey.model.caller import Caller
from valetkey.model.calls import Call, Presented
from valetkey.model.needs import PUBLIC
from valetkey.model.users import UserPermission

ANN, BOB, EVE = user("ann"), user("bob"), user("eve")
server = google
site = opened

NASTY = '<script>alert(1)</script> & "quotes" \u202egnp.exe\u200b \x07 </pre><img src=x onerror=alert(1)>'


async def caller_of(who) -> Caller:
    return await Chain([Vouched()]).identify(Presented(scheme="host", value=named(who)))


async def asked(site: Site, who=ANN, **arguments) -> str:
    call = Call(tool="send_money", needs=PUBLIC, arguments=arguments, entrance="pocket")
    with pytest.raises(ApprovalRequired) as raised:
        await site.approvals.ask(await caller_of(who), call, "sums over 100 need a person")
    return raised.value.url


async def allowed(site: Site, who=ANN, **arguments) -> bool:
    call = Call(tool="send_money", needs=PUBLIC, arguments=arguments, entrance="pocket")
    return await site.approvals.spend(await caller_of(who), call)


@pytest.mark.requirement("X-30", "W-11", "C7.approvals")
async def test_all_arguments_are_shown_whole_and_escaped(site):
    arguments = {"to": NASTY, "note": "x" * 20_000 + "THE END", "rows": [{"n": n} for n in range(300)]}
    url = await asked(site, **arguments)
    shown = await site.browser(ANN).get(url)
    assert shown.status == 200
    text = unescape(shown.text.partition("<pre")[2].partition(">")[2].partition("</pre>")[0])
    assert json.loads(text) == arguments
    assert "<script>alert" not in shown.text
    assert "<img" not in shown.text
    assert "\u202e" not in shown.text
    assert "THE END" in shown.text
    for said in ("send_money", "local|ann", "ws-user-local|ann", "sums over 100 need a person", "10 minutes"):
        assert said in shown.text
    assert "unsafe-inline" not in (shown.header("content-security-policy") or "")


async def test_it_is_shown_to_and_answered_by_the_caller_only(site):
    url = await asked(site, amount=500)
    nobody, bob, ann = site.browser(), site.browser(BOB), site.browser(ANN)
    sent = await nobody.get(url)
    assert (sent.status, sent.header("location")) == (303, sign_in_for(url))
    token = bob.cookies["valetkey"].removeprefix("vks_")
    forged = site.forged(bob, f"approve {url.rpartition('/')[2]} {token}")
    for refused in (await bob.get(url), await bob.post(url, {**forged, "answer": "yes"})):
        assert refused.status == 403
        assert "send_money" not in refused.text
        assert "500" not in refused.text
    assert not await allowed(site, amount=500)
    shown = await ann.get(url)
    assert (await ann.submit(url, shown, answer="yes", amount="1000000")).status == 200
    assert not await allowed(site, amount=1_000_000)
    assert not await allowed(site, BOB, amount=500)
    assert await allowed(site, amount=500)
    assert not await allowed(site, amount=500), "one yes is for one call"


async def test_an_admin_of_the_workspace_may_answer_too(site):
    def permission_of(caller: Caller, workspace: str) -> UserPermission | None:
        return UserPermission.admin if caller.owner.subject == "local|eve" else UserPermission.read_write

    site.approvals._permission_of = permission_of
    url = await asked(site, amount=500)
    assert (await site.browser(BOB).get(url)).status == 403
    eve = site.browser(EVE)
    assert (await eve.submit(url, await eve.get(url), answer="no")).status == 200
    assert not await allowed(site, amount=500)


async def test_a_form_of_another_site_approves_nothing(site):
    url, ann = await asked(site, amount=500), site.browser(ANN)
    shown = await ann.get(url)
    hidden = shown.text.partition('name="csrf" value="')[2].partition('"')[0]
    assert (await ann.post(url, {"csrf": hidden, "answer": "yes"}, sec_fetch_site="cross-site")).status in (303, 403)
    assert (await ann.post(url, {"answer": "yes"})).status == 403
    assert (await ann.post(url, {"csrf": hidden})).status == 400
    assert (await ann.get(f"{url}?answer=yes")).status == 200  # a GET asks, and answers nothing
    assert not await allowed(site, amount=500)


@pytest.mark.parametrize("answer", ["yes", "no"])
async def test_used_and_over_are_told(site, answer):
    ann = site.browser(ANN)
    url = await asked(site, amount=500)
    shown = await ann.get(url)
    said = await ann.submit(url, shown, answer=answer)
    assert ("may go on" in said.text) is (answer == "yes")
    for again in (await ann.get(url), await ann.submit(url, shown, answer="yes")):
        assert (again.status, "has been answered" in again.text) == (410, True)
    late = await asked(site, amount=700)
    shown = await ann.get(late)
    site.system.clock.advance(601)
    for over in (await ann.get(late), await ann.submit(late, shown, answer="yes")):
        assert (over.status, "has ended" in over.text) == (410, True)
    assert (await ann.get(f"{BASE}/approve/{'x' * 43}")).status == 400
    assert not await allowed(site, amount=700)
