"""ANY /via/{provider}/{path}: who may, what goes out, what comes back."""

import asyncio
import gzip
import http.client
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.proxy.kit import ManualClock, Proxied, link_in, proxied, replying, service_of
from valetkey.audit import AuditLog
from valetkey.model.connections import Health
from valetkey.model.stops import StopKind
from valetkey.model.tokens import TokenKind
from valetkey.settings.sections import Rate

SECRET = "ldg-canary-0123456789abcdefghij"
ADAS = "ldg-of-ada-9876543210zyxwvutsrq"
ALLOWED = (
    '[[policy.rules]]\nname = "ledger by token"\neffect = "allow"\nentrances = ["proxy"]\ntools = ["via/ledger"]\n'
)


@pytest.fixture
async def site() -> AsyncIterator[Proxied]:
    async with proxied() as made:
        await made.account("bob", SECRET)
        await made.account("ada", ADAS)
        yield made


async def raw(site: Proxied, target: str, ticket: str, *, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    """A request whose target goes out as it is written here."""

    def send() -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", site.here.listener.port, timeout=10)
        shown = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, target, headers={"Authorization": f"Bearer {ticket}", **shown})
        got = connection.getresponse()
        found = got.status, got.read()
        connection.close()
        return found

    return await asyncio.to_thread(send)


# Who may


async def test_requests_with_a_ticket_count_for_their_caller_and_not_for_their_address() -> None:
    rates = {"rate": Rate(per_second=0.001, burst=4), "signed_in_rate": Rate(per_second=0.001, burst=9)}
    async with proxied(serving=rates) as site:
        await site.account("bob", SECRET)
        await site.account("ada", ADAS)
        lent = await site.lent("bob")
        ticket = lent.told["via"]["ledger"]["token"]
        # The first counts for the address, as nobody knows it yet; then nine of bob's.
        assert [(await site.via(ticket)).status_code for _ in range(11)] == [200] * 10 + [429]
        assert (await site.via(await site.ticket("ada"))).status_code == 200
        lent.end()
        await site.loans.settle()
        site.here.identity.chain.forget()
        # One that is over is nobody's: it counts for the address again, of whose four two are left.
        assert [(await site.via(ticket)).status_code for _ in range(3)] == [401, 401, 429]


@pytest.mark.requirement("X-23", "E.via", "X-32.via")
async def test_each_ticket_has_its_own_callers_account_and_no_other(site: Proxied) -> None:
    bobs, adas = await site.ticket("bob"), await site.ticket("ada")
    for ticket, secret in ((bobs, SECRET), (adas, ADAS), (bobs, SECRET)):
        got = await site.via(ticket, "/v1/entries?page=2")
        assert (got.status_code, got.json(), got.headers["x-valetkey-from"]) == (200, {"ok": True}, "ledger")
        assert site.api.seen[-1].headers["authorization"] == f"Bearer {secret}"
        assert site.api.seen[-1].target == "/v1/entries?page=2"
        assert ticket not in repr(site.api.seen[-1])


@pytest.mark.requirement("W-04", "X-32.via")
async def test_a_ticket_is_for_its_provider_its_call_and_nothing_else(site: Proxied) -> None:
    loan = await site.lent()
    ticket = loan.told["via"]["ledger"]["token"]
    async with site.here.http(ticket) as client:
        assert (await client.get("/via/slack/api/auth.test")).status_code == 403
        for path in ("/ws-user-bob/services/", "/public/services/ws/generate_token", "/ws-user-bob/info"):
            assert (await client.get(path)).status_code == 401
    assert (await site.via(f"{ticket[:-8]}aaaaaaaa")).status_code == 401
    loan.end()
    await site.loans.settle()
    assert (await site.via(ticket)).status_code == 401
    assert site.api.seen == []


@pytest.mark.requirement("E5.ticket")
async def test_a_ticket_has_an_end_of_its_own() -> None:

    clock = ManualClock()
    async with proxied(clock=clock) as site:
        await site.account("bob", SECRET)
        loan = await site.lent()
        assert loan.told["via"]["ledger"]["expires_at"] == clock.now() + 300
        clock.advance(299)
        assert (await site.via(loan.told["via"]["ledger"]["token"])).status_code == 200
        clock.advance(2)
        assert (await site.via(loan.told["via"]["ledger"]["token"])).status_code == 401


@pytest.mark.requirement("d30.carriers-via", "A-13.via")
async def test_nothing_a_cookie_or_a_token_without_a_rule_opens_nothing(site: Proxied) -> None:
    async with httpx2.AsyncClient(base_url=site.here.base_url, trust_env=False) as client:
        nothing = await client.get("/via/ledger/me")
        assert (nothing.status_code, nothing.headers["www-authenticate"]) == (401, 'Bearer realm="valetkey"')
    async with await site.browser("bob") as jar:
        assert (await jar.get("/via/ledger/me", headers={"sec-fetch-site": "same-origin"})).status_code == 401
        session = jar.cookies["valetkey"]
    assert (await site.via(session)).status_code == 401
    assert (await site.via(await site.here.token("bob"))).status_code == 403
    assert site.api.seen == []


@pytest.mark.requirement("E.via-policy")
async def test_a_rule_that_names_this_way_in_lets_a_token_on_and_no_other_rule_does() -> None:
    wide = '[[policy.rules]]\nname = "all"\neffect = "allow"\ntools = ["*"]\n'
    for rules, status in ((wide, 403), (ALLOWED, 200)):
        async with proxied(rules) as site:
            await site.account("bob", SECRET)
            for kind in (TokenKind.API_KEY, TokenKind.ACCESS):
                got = await site.via(await site.here.token("bob", kind=kind))
                assert got.status_code == status
            assert len(site.api.seen) == (2 if status == 200 else 0)
            if status == 200:
                unconnected = await site.via(await site.here.token("eve"))
                assert (unconnected.status_code, "/connect/" in unconnected.json()["url"]) == (403, True)


@pytest.mark.requirement("E.via-policy")
async def test_rules_and_blocks_stop_tickets_that_are_out() -> None:
    rule = '[[policy.rules]]\nname = "no ledger"\neffect = "deny"\nentrances = ["proxy"]\nproviders = ["ledger"]\n'
    async with proxied(rule) as site:
        await site.account("bob", SECRET)
        assert (await site.via(await site.ticket())).status_code == 403
    async with proxied() as site:
        await site.account("bob", SECRET)
        ticket = await site.ticket()
        assert (await site.via(ticket)).status_code == 200
        await site.here.identity.blocks.add(StopKind.TOOL, "ws-user-bob/sums", by="root")
        assert (await site.via(ticket)).status_code == 403
        assert len(site.api.seen) == 1


@pytest.mark.requirement("E.via-audit")
async def test_each_request_is_in_the_audit_log_before_it_goes_out(site: Proxied) -> None:
    await site.via(await site.ticket())
    log = site.here.identity.audit
    assert isinstance(log, AuditLog)
    await log.drain()
    rows = await site.here.identity.system.stores.audit.page(after=0)
    entries = [row.entry for row in rows if row.entry.details.get("entrance") == "proxy"]
    assert [(entry.action.value, entry.user, entry.rule) for entry in entries] == [
        ("call", "bob", "holds-ticket"),
        ("credential.lend", "bob", "holds-ticket"),
    ]
    assert all(SECRET not in repr(row) for row in rows)


# What goes out


ELSEWHERE = [
    "/a/../../admin",
    "/a/..",
    "/./a",
    "/a/%2e%2e/b",
    "/a/%252e%252e/b",
    "/a/..%2f..%2fadmin",
    "/a/..;x/b",
    "/a%5c..%5cb",
    "/a%00b",
    "/%c0%ae%c0%ae/b",
    "/a%zz",
]


@pytest.mark.requirement("X-01", "X-02")
async def test_a_path_that_leads_elsewhere_is_refused(site: Proxied) -> None:
    ticket = await site.ticket()
    for path in ELSEWHERE:
        assert (path, (await raw(site, f"/via/ledger{path}", ticket))[0]) == (path, 400)
    assert site.api.seen == []


@pytest.mark.requirement("E.via")
async def test_any_other_path_goes_out_as_it_came(site: Proxied) -> None:
    ticket = await site.ticket()
    for path in ("", "/", "/a/b%2Fc/%20d", "//b", "/a?b=%2F&c=d+e", "/a:b@c,d;e=f"):
        assert (await raw(site, f"/via/ledger{path}", ticket))[0] == 200
        assert site.api.seen[-1].target == (path or "/")


NOT_ITS_OWN = [
    "/via/ledger/@evil.test/a",
    "/via/ledger/@127.0.0.1/a",
    "/via/ledger/@127.0.0.1:{port}@evil.test/a",
    "/via/ledger/@127.0.0.1:{port}.evil.test/a",
    "/via/ledger/@127.0.0.1:{port}%2eevil.test/a",
    "/via/ledger/@evil.test%5c@127.0.0.1:{port}/a",
    "/via/ledger@evil.test/a",
    "/via/LEDGER/a",
    "/via/nobody/a",
]


@pytest.mark.requirement("X-08", "E.via")
async def test_only_the_providers_own_addresses_are_reached(site: Proxied) -> None:
    ticket = await site.ticket()
    for target in NOT_ITS_OWN:
        assert (await raw(site, target.format(port=site.api.port), ticket))[0] in (400, 403, 404), target
    assert site.api.seen == []
    assert (await raw(site, f"/via/ledger/@127.0.0.1:{site.api.port}/a", ticket))[0] == 200
    assert site.api.seen[-1].target == "/a"


@pytest.mark.requirement("X-04", "X-25")
async def test_headers_that_say_who_sends_or_where_it_goes_are_ours(site: Proxied) -> None:
    given = {
        "cookie": "a=b",
        "host": f"127.0.0.1:{site.here.listener.port}",
        "proxy-authorization": "Basic eDp5",
        "x-forwarded-for": "1.2.3.4",
        "x-forwarded-host": "evil.test",
        "forwarded": "for=1.2.3.4",
        "x-http-method-override": "DELETE",
        "origin": site.here.base_url,
        "range": "bytes=0-1",
        "connection": "keep-alive, x-hop",
        "x-hop": "1",
        "accept": "application/json",
        "x-api-version": "7",
        "accept-encoding": "br",
    }
    assert (await site.via(await site.ticket(), headers=given)).status_code == 200
    sent = site.api.seen[-1].headers
    sent.pop("user-agent")
    assert sent == {
        "host": f"127.0.0.1:{site.api.port}",
        "authorization": f"Bearer {SECRET}",
        "accept": "application/json",
        "x-api-version": "7",
        "accept-encoding": "gzip",
    }


@pytest.mark.requirement("X-06")
async def test_a_second_credential_is_refused(site: Proxied) -> None:
    ticket = await site.ticket()
    for query in ("access_token=x", "a=b&API_KEY=x", "%61ccess_token=x", "token=x"):
        assert (await site.via(ticket, f"/a?{query}")).status_code == 400
    assert (await site.via(ticket, "/a", method="POST", data={"access_token": "x"})).status_code == 400
    async with httpx2.AsyncClient(base_url=site.here.base_url, trust_env=False) as client:
        two = [("authorization", f"Bearer {ticket}"), ("authorization", "Bearer x")]
        assert (await client.get("/via/ledger/a", headers=two)).status_code == 401
    assert site.api.seen == []


@pytest.mark.requirement("X-18.via", "E.via")
async def test_bodies_of_any_kind_go_out_whole(site: Proxied) -> None:
    ticket, large = await site.ticket(), bytes(range(256)) * 8192

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(large), 65_536):
            yield large[at : at + 65_536]

    for body in (b"{}", large, pieces()):
        got = await site.via(ticket, "/up", method="PUT", content=body, headers={"content-type": "x/y"})
        assert got.status_code == 200
    first, second, third = site.api.seen
    assert (first.body, first.headers["content-type"], first.method) == (b"{}", "x/y", "PUT")
    assert second.body == third.body == large
    assert (second.headers["content-length"], third.headers["transfer-encoding"]) == (str(len(large)), "chunked")
    status, _ = await raw(site, "/via/ledger/up", ticket, method="POST", content_length=str(10**12))
    assert status == 413


# What comes back


@pytest.mark.requirement("X-17", "X-35", "E.via")
async def test_the_secret_is_starred_out_of_whatever_comes_back(site: Proxied) -> None:
    packed = gzip.compress(json.dumps({"url": f"https://x.test/?api_key={SECRET}"}).encode())
    page = f"<h1>failed with Bearer {SECRET}</h1>".encode()
    site.api.replies["/page"] = replying(500, page, (b"content-length", str(len(page)).encode()))
    site.api.replies["/gzip"] = replying(200, packed, (b"content-encoding", b"gzip"))
    site.api.replies["/head"] = replying(302, b"", (b"location", f"/next?t={SECRET}".encode()))

    async def split(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for at in range(0, len(SECRET), 5):
            await send({"type": "http.response.body", "body": SECRET[at : at + 5].encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b" end"})

    site.api.replies["/split"] = split
    ticket = await site.ticket()
    for path, status in (("/page", 500), ("/gzip", 200), ("/head", 302), ("/split", 200)):
        got = await site.via(ticket, path)
        assert got.status_code == status
        assert SECRET not in got.text + repr(got.headers)
        assert "***" in got.text + repr(got.headers)


@pytest.mark.requirement("X-09")
async def test_a_redirect_is_told_and_not_followed(site: Proxied) -> None:
    site.api.replies["/here"] = replying(307, b"", (b"location", b"/there"))
    got = await site.via(await site.ticket(), "/here", method="POST", content=b"x")
    assert (got.status_code, got.headers["location"]) == (307, f"{site.api.url}/there")
    assert len(site.api.seen) == 1


@pytest.mark.requirement("W-11", "E.via-origin", "W-16")
async def test_an_answer_is_nothing_on_our_own_origin(site: Proxied) -> None:
    headers = {
        "content-type": "text/html",
        "set-cookie": "valetkey=stolen; Path=/",
        "content-security-policy": "default-src *",
        "access-control-allow-origin": "*",
        "strict-transport-security": "max-age=0",
        "clear-site-data": '"*"',
        "refresh": "0; url=https://evil.test",
        "www-authenticate": "Basic",
        "x-accel-redirect": "/internal",
        "service-worker-allowed": "/",
        "cache-control": "public",
        "x-ratelimit-remaining": "7",
        "etag": '"1"',
    }
    made = [(name.encode(), value.encode()) for name, value in headers.items()]
    site.api.replies["/page"] = replying(200, b"<script>alert(1)</script>", *made)
    got = await site.via(await site.ticket(), "/page")
    kept = {name: got.headers[name] for name in headers if name in got.headers}
    assert kept == {
        "content-type": "text/html",
        "content-security-policy": "sandbox; default-src 'none'; form-action 'none'; frame-ancestors 'none'",
        "cache-control": "no-store",
        "x-ratelimit-remaining": "7",
        "etag": '"1"',
    }
    assert got.headers["x-content-type-options"] == "nosniff"


@pytest.mark.requirement("X-18.via", "E.via-streams")
async def test_an_answer_comes_as_it_is_sent_and_ends_when_nobody_reads_it(site: Proxied) -> None:
    gate = asyncio.Event()

    async def events(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await gate.wait()
        await send({"type": "http.response.body", "body": b"data: 2\n\n", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        site.api.left.set()

    site.api.replies["/events"] = events
    headers = {"authorization": f"Bearer {await site.ticket()}"}
    async with (
        httpx2.AsyncClient(base_url=site.here.base_url, trust_env=False) as client,
        client.stream("GET", "/via/ledger/events", headers=headers) as got,
    ):
        lines = got.aiter_lines()
        assert await anext(lines) == "data: 1"
        gate.set()
        assert [await anext(lines), await anext(lines)] == ["", "data: 2"]
    async with asyncio.timeout(10):
        await site.api.left.wait()


@pytest.mark.requirement("X-18.via")
async def test_a_stream_ends_when_its_ticket_does() -> None:

    clock = ManualClock()
    async with proxied(clock=clock) as site:
        await site.account("bob", SECRET)
        going = asyncio.Event()

        async def drip(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"one ", "more_body": True})
            await going.wait()
            await send({"type": "http.response.body", "body": b"two ", "more_body": True})
            await asyncio.Event().wait()

        site.api.replies["/drip"] = drip
        loan = await site.lent()
        headers = {"authorization": f"Bearer {loan.told['via']['ledger']['token']}"}
        async with (
            httpx2.AsyncClient(base_url=site.here.base_url, trust_env=False) as client,
            client.stream("GET", "/via/ledger/drip", headers=headers) as got,
        ):
            chunks = got.aiter_raw()
            assert await anext(chunks) == b"one "
            loan.end()
            await site.loans.settle()
            clock.advance(2)
            going.set()
            with pytest.raises(httpx2.RemoteProtocolError):
                await anext(chunks)


# Credentials that are refused, and exchanges that break


@pytest.mark.requirement("X-19")
async def test_a_401_is_answered_by_one_refresh_and_one_more_try(site: Proxied) -> None:
    async with await site.browser("eve") as jar:
        who = await site.who("eve")
        with pytest.raises(Exception, match="/connect/") as raised:
            await site.loans.lend(service_of("eve"), who)
        await site.connect_account(jar, link_in(str(raised.value)))
        loan = await site.loans.lend(service_of("eve"), who)
    ticket = loan.told["via"]["ledger"]["token"]
    assert (await site.via(ticket, "/a")).status_code == 200
    site.api.refused.add(site.api.seen[-1].headers["authorization"])
    got = await site.via(ticket, "/pay", method="POST", content=b"once")
    assert got.status_code == 200
    old, new = site.api.seen[-2:]
    assert old.headers["authorization"] != new.headers["authorization"]
    assert old.body == new.body == b"once"
    assert site.oauth.refreshes == 1

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield bytes(65_536)

    site.api.refused.add(new.headers["authorization"])
    for status in (503, 200):  # what was sent as it came is gone: whoever has it sends it again
        got = await site.via(ticket, "/up", method="PUT", content=pieces())
        assert got.status_code == status
    (row,) = await site.here.identity.system.stores.connections.of_owner(site.owner("eve"))
    assert row.health is Health.OK


@pytest.mark.requirement("X-19")
async def test_a_second_401_is_given_on_and_the_account_has_to_be_connected_again(site: Proxied) -> None:
    site.api.refused.add(f"Bearer {SECRET}")
    ticket = await site.ticket()
    got = await site.via(ticket, "/a")
    assert (got.status_code, got.headers["x-valetkey-from"]) == (401, "ledger")
    assert got.text == "who is this? Bearer ***"
    assert len(site.api.seen) == 1
    (row,) = await site.here.identity.system.stores.connections.of_owner(site.owner("bob"))
    assert row.health is Health.NEEDS_REAUTH


@pytest.mark.requirement("X-22")
async def test_what_breaks_off_is_not_repeated(site: Proxied) -> None:
    async def short(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})

    site.api.replies["/short"] = short
    ticket = await site.ticket()
    with pytest.raises(httpx2.RemoteProtocolError):
        await site.via(ticket, "/short", method="POST", content=b"x")
    assert len(site.api.seen) == 1
