"""A service of somebody else's asks for the caller's account: connect once, say yes once, a ticket for each call."""

from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from tests.proxy.kit import ManualClock, Proxied, Who, link_in, proxied, replying, service_of, submit
from valetkey import ApprovalRequired
from valetkey.errors import Denied, InvalidAnswer, MissingSetting
from valetkey.model.services import Registered

NEEDS = [{"provider": "ledger", "scopes": ["read"]}]
CANARY = "ldg-canary-0123456789abcdefghij"


@pytest.fixture
async def site() -> AsyncIterator[Proxied]:
    async with proxied() as made:
        yield made


async def register(site: Proxied, *, owner: str = "ada", client: str = "worker", **config: Any) -> list[Any]:
    """A service that fetches with what it is lent; what it was told."""
    told: list[Any] = []

    async def work(path: str = "/me", context: Any = None) -> Any:
        told.append(context["via"]["ledger"])
        async with httpx2.AsyncClient(trust_env=False) as http:
            lent = context["via"]["ledger"]
            answer = await http.get(lent["url"] + path, headers={"authorization": f"Bearer {lent['token']}"})
            return {"status": answer.status_code, "text": answer.text}

    server = await site.here.connect(client, token=await site.here.token(owner))
    await server.register_service(
        {
            "id": "sums",
            "name": "Sums",
            "config": {"visibility": "public", "require_context": True, "needs": NEEDS, **config},
            "work": work,
        }
    )
    return told


@pytest.mark.requirement("E.lend-once", "X-23", "W-04")
async def test_over_http_the_caller_connects_once_says_yes_once_and_the_secret_stays_here(site: Proxied) -> None:
    told = await register(site)
    site.api.replies["/me"] = replying(200, b"no token in here")
    token, jar = await site.here.token("bob"), await site.browser("bob")
    async with site.here.http(token) as bob:
        first = await bob.post("/ws-user-ada/services/sums/work", json={})
        assert first.status_code == 403
        assert (await site.connect_account(jar, link_in(first.text))).status_code == 200
        second = await bob.post("/ws-user-ada/services/sums/work", json={})
        assert (second.status_code, "/approve/" in second.json()["url"]) == (403, True)
        shown = await jar.get(link_in(second.text))
        for said in ("Sums", "ws-user-ada/sums", "ada", "Ledger", "read", "30 days"):
            assert said in shown.text
        assert (await site.say(jar, link_in(second.text), "yes")).status_code == 200
        assert told == []
        for _ in range(2):
            third = await bob.post("/ws-user-ada/services/sums/work", json={})
            assert third.json() == {"status": 200, "text": "no token in here"}
        assert site.oauth.exchanges == 1
        sent = site.api.seen[-1].headers["authorization"]
        assert sent.startswith("Bearer ")
        secret = sent.removeprefix("Bearer ")
        site.api.replies["/me"] = replying(200, f"you sent {secret}".encode())
        echoed = (await bob.post("/ws-user-ada/services/sums/work", json={})).json()
        assert secret not in echoed["text"]
        assert secret not in repr(told)
    await jar.aclose()


@pytest.mark.requirement("E5.ticket")
async def test_over_rpc_the_same_and_a_ticket_ends_with_its_call(site: Proxied) -> None:
    told = await register(site)
    await site.account("bob", CANARY)
    server = await site.here.connect("caller", token=await site.here.token("bob"))
    service = await server.get_service("ws-user-ada/worker:sums")
    with pytest.raises(Exception, match="approve") as raised:
        await service.work()
    async with await site.browser("bob") as jar:
        await site.say(jar, link_in(str(raised.value)), "yes")
    assert (await service.work())["status"] == 200
    assert site.api.seen[-1].headers["authorization"] == f"Bearer {CANARY}"
    await site.loans.settle()
    late = await site.via(told[0]["token"], "/me")
    assert late.status_code == 401
    assert len(site.api.seen) == 1


# What a yes is for


async def refusal(site: Proxied, service: Registered, name: str = "bob", **about: Any) -> ApprovalRequired:
    who = await site.who(name)
    with pytest.raises(ApprovalRequired) as raised:
        await site.loans.lend(service, who, **about)
    return raised.value


async def allowed(site: Proxied, service: Registered, name: str = "bob") -> None:
    """They said yes to that."""
    link = (await refusal(site, service, name)).url
    async with await site.browser(name) as jar:
        assert "may use your account" in (await site.say(jar, link, "yes")).text


@pytest.mark.requirement("E.lend-once")
async def test_one_yes_is_for_one_service_its_registrant_and_what_it_asked_for(site: Proxied) -> None:
    for name in ("bob", "eve"):
        await site.account(name, CANARY, scopes=("read", "write"))
    mine = service_of("ada")
    first = await refusal(site, mine)
    assert (await refusal(site, mine)).url == first.url, "the same question is asked once"
    await allowed(site, mine)
    assert (await site.loans.lend(mine, await site.who("bob"))).told["via"]["ledger"]["token"]
    for other in (
        replace(mine, id="other"),
        replace(mine, workspace="ws-user-zoe"),
        replace(mine, registrant=("valetkey", "zoe")),
        replace(mine, registrant=("https://elsewhere.test", "ada")),
        service_of("ada", scopes=("read", "write")),
    ):
        assert (await refusal(site, other)).url != first.url
    await refusal(site, mine, "eve")
    again = replace(mine, client="another")
    assert await site.loans.lend(again, await site.who("bob")), "clients come and go"


@pytest.mark.requirement("E.lend-once")
async def test_nobody_is_asked_for_a_service_of_their_own_and_no_stranger_is_lent_anything(site: Proxied) -> None:
    await site.account("bob", CANARY)
    assert (await site.lent("bob")).told["via"]["ledger"]["url"] == f"{site.here.base_url}/via/ledger"
    async with site.here.http() as stranger:
        await register(site)
        answer = await stranger.post("/ws-user-ada/services/sums/work", json={})
        assert (answer.status_code, "Sign in" in answer.text) == (403, True)
    assert site.api.seen == []


@pytest.mark.requirement("E.lend-once")
async def test_a_yes_that_is_ended_or_over_ends_what_is_lent_and_is_asked_for_again() -> None:
    clock = ManualClock()
    async with proxied(clock=clock) as site:
        await site.account("bob", CANARY)
        service = service_of("ada")
        await allowed(site, service)
        loan = await site.loans.lend(service, await site.who("bob"))
        ticket = loan.told["via"]["ledger"]["token"]
        assert (await site.via(ticket)).status_code == 200
        async with await site.browser("bob") as jar:
            page = (await jar.get("/account")).text
            for said in ("Services that may use your accounts", "ws-user-ada/sums", "Run by ada", "Ledger (read)"):
                assert said in page
            path = page.partition("End lending")[0].rpartition('href="')[2].partition('"')[0]
            asked = await jar.get(path)
            assert "Lend nothing to ws-user-ada/sums any more?" in asked.text
            await submit(jar, f"{site.here.base_url}{path}", asked)
            assert "Services that may use" not in (await jar.get("/account")).text
        assert (await site.via(ticket)).status_code == 401
        await allowed(site, service)
        clock.advance(29 * 86_400)
        await site.account("bob", CANARY)
        assert await site.loans.lend(service, await site.who("bob"))
        clock.advance(2 * 86_400)
        await site.account("bob", CANARY)
        await refusal(site, service)


@pytest.mark.requirement("W-04", "W-19")
async def test_a_ticket_ends_with_the_token_with_which_the_service_was_called(site: Proxied) -> None:
    await site.account("bob", CANARY)
    await allowed(site, service_of("ada"))
    text, row = await site.here.issue("bob")
    who = Who(caller=await site.here.caller(text), workspace="ws-user-bob")
    tickets = [(await site.loans.lend(each, who)).told for each in (service_of("ada"), service_of("bob"))]
    for status in (200, 401):
        for told in tickets:
            assert (await site.via(told["via"]["ledger"]["token"])).status_code == status
        await site.here.identity.tokens.end(row, by="bob")


@pytest.mark.requirement("E.lend-once")
async def test_only_the_caller_in_person_answers(site: Proxied) -> None:
    await site.account("bob", CANARY)
    service = service_of("ada")
    link = (await refusal(site, service)).url
    state = link.rpartition("/")[2]
    for name, roles in (("ada", ()), ("root", ("admin",))):
        async with await site.browser(name, roles) as jar:
            shown = await jar.get(link)
            assert (shown.status_code, "Ledger" in shown.text) == (403, False)
    consents, approvals = site.here.identity.consents, site.here.identity.approvals
    program = (await site.who("bob")).caller
    with pytest.raises(Denied):
        await consents.answer(state, program, yes=True)
    with pytest.raises(InvalidAnswer):
        await approvals.asked(state)
    with pytest.raises(InvalidAnswer):
        await approvals.answer(state, program, yes=True)
    await refusal(site, service)
    async with await site.browser("bob") as jar:
        assert "was not lent" in (await site.say(jar, link, "no")).text
        again = await jar.get(link)
        assert (again.status_code, "answered before" in again.text) == (410, True)
    assert (await refusal(site, service)).url != link


@pytest.mark.requirement("E.via-policy")
async def test_a_rule_of_the_settings_goes_before_any_question() -> None:
    rule = '[[policy.rules]]\nname = "no sums"\neffect = "deny"\nentrances = ["rpc"]\ntools = ["*/sums"]\n'
    async with proxied(rule) as site:
        with pytest.raises(Denied, match="no sums"):
            await site.loans.lend(service_of("ada"), await site.who("bob"))


@pytest.mark.requirement("X-32.via")
async def test_several_accounts_at_once_are_told_apart_by_the_one_that_is_meant(site: Proxied) -> None:
    await site.account("bob", CANARY, profile="default")
    await site.account("bob", f"{CANARY}-work", profile="work")
    await site.via(await site.ticket("bob"))
    assert site.api.seen[-1].headers["authorization"] == f"Bearer {CANARY}"


async def test_a_caller_reads_no_settings_of_whoever_runs_the_server(
    site: Proxied, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await register(site)

    async def connect(_: Any) -> Any:
        raise MissingSetting("Set LEDGER_CLIENT_ID.")

    monkeypatch.setattr(site.loans, "_connector", SimpleNamespace(connect=connect))
    async with site.here.http(await site.here.token("bob")) as bob:
        answer = await bob.post("/ws-user-ada/services/sums/work", json={})
    assert ("LEDGER_CLIENT_ID" in answer.text, "Ask whoever runs this server" in answer.text) == (False, True)
    assert "LEDGER_CLIENT_ID" in caplog.text
