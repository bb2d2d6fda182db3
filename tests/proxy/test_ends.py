"""What a ticket was good for ends with it: requests that were begun, too. And bodies have time, but not for ever."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.proxy.kit import Proxied, proxied, service_of
from tests.proxy.test_lending import CANARY, allowed, refusal, register
from valetkey.adapters import serving
from valetkey.entrypoints.proxy import asked, reverse
from valetkey.model.connections import Credential, Grant
from valetkey.secret import Secret
from valetkey.services import packing
from valetkey.wiring import serving as wiring


async def begun(site: Proxied, ticket: str, length: int, body: bytes, path: str = "/transfer") -> Any:
    port = site.here.listener.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /via/ledger{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {ticket}\r\n"
    writer.write(f"{head}Content-Length: {length}\r\n\r\n".encode() + body)
    await writer.drain()
    return reader, writer


@pytest.mark.parametrize("size", [10, 1_200_000])
async def test_a_request_that_was_begun_with_a_ticket_ends_with_it(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reverse, "LOOKED_AT", 0.05)
    async with proxied() as site:
        await site.account("bob", CANARY)
        loan = await site.lent("bob")
        ticket = loan.told["via"]["ledger"]["token"]
        reader, writer = await begun(site, ticket, size, b"x" * (size - 5))
        assert (await site.via(ticket, "/me")).status_code == 200  # by now the other one is known
        loan.end()
        await site.loans.settle()
        if size == 10:
            writer.write(b"to eve"[:5])
        line = await asyncio.wait_for(reader.readline(), 10)
        writer.close()
        assert (line.split()[1], [each.target for each in site.api.seen]) == (b"401", ["/me"])


async def test_who_leaves_before_the_answer_begins_ends_the_exchange() -> None:
    async with proxied() as site:
        await site.account("bob", CANARY)
        came = asyncio.Event()

        async def wait(scope: Any, receive: Any, send: Any) -> None:
            came.set()
            while (await receive())["type"] != "http.disconnect":
                pass
            site.api.left.set()

        site.api.replies["/slow"] = wait
        _, writer = await begun(site, await site.ticket(), 2, b"{}", "/slow")
        await asyncio.wait_for(came.wait(), 5)
        writer.close()
        await asyncio.wait_for(site.api.left.wait(), 5)


async def test_an_upload_may_take_longer_than_a_pages_request(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (serving, wiring):  # 60 s in a real server
        if hasattr(each, "SERVER"):
            monkeypatch.setattr(each, "SERVER", replace(serving.SERVER, whole=0.4))
    async with proxied() as site:
        await site.account("bob", CANARY)
        reader, writer = await begun(site, await site.ticket(), 1_500_000, b"")
        try:
            for _ in range(30):
                writer.write(b"x" * 50_000)
                await writer.drain()
                await asyncio.sleep(0.03)
            line = await asyncio.wait_for(reader.readline(), 5)
        except ConnectionError:
            line = b"cut"
        writer.close()
        assert b" 200 " in line
        reader, writer = await begun(site, "nobody", 1_500_000, b"x")
        assert b" 401 " in await asyncio.wait_for(reader.readline(), 5)
        await asyncio.wait_for(reader.read(), 5)  # a stranger's has no more time than any
        writer.close()


@pytest.mark.parametrize("size", [10, 1_200_000])
async def test_a_body_that_does_not_come_on_is_given_up(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "IDLE", 0.2)
    async with proxied() as site:
        await site.account("bob", CANARY)
        reader, writer = await begun(site, await site.ticket(), size, b"x" * (size - 5))
        assert b" 408 " in await asyncio.wait_for(reader.readline(), 5)
        writer.close()
        assert site.api.seen == []


# Which account


async def connect(site: Proxied, account: str, *scopes: str) -> None:
    system = site.here.identity.system
    handler = system.handling.find("ledger-oauth2", None)
    grant = Grant(
        credential=Credential(access_token=Secret(f"{CANARY}-{account}")),
        scopes=frozenset(scopes),
        expires_at=system.clock.now() + 36_000,
        account=account,
    )
    await system.keeper.keep(grant, handler, site.owner("bob"), profile="default", asked=frozenset(scopes))


async def test_a_yes_is_for_the_account_and_the_rights_that_were_shown() -> None:
    async with proxied() as site:
        await connect(site, "bob-at-home", "read")
        await allowed(site, service_of("ada"))
        lent = await site.loans.lend(service_of("ada"), await site.who("bob"))
        await connect(site, "bob-at-work", "read")
        await refusal(site, service_of("ada"))
        late = await site.via(lent.told["via"]["ledger"]["token"])
        assert (late.status_code, site.api.seen) == (403, [])
        await connect(site, "bob-at-home", "read", "delete")
        await refusal(site, service_of("ada"))


# Programs with a token that somebody made for them


async def narrowed(site: Proxied, permission: str, *scopes: str, by: str = "") -> str:
    config = {"workspace": "ws-user-bob", "permission": permission, "extra_scopes": list(scopes)}
    async with site.here.http(by or await site.here.token("bob")) as bob:
        made = await bob.post("/ws-user-bob/services/ws/generate_token", json={"config": config})
    assert made.status_code == 200, made.text
    return str(made.json())


async def test_a_token_that_somebody_made_opens_no_account_unless_they_gave_it_along() -> None:
    async with proxied() as site:
        await register(site)
        await site.account("bob", CANARY)
        await allowed(site, service_of("ada"))
        whole = await narrowed(site, "admin")
        given = await narrowed(site, "admin", "via:ledger")
        widened = await narrowed(site, "admin", "via:ledger", by=whole)
        for token, status in ((whole, 403), (widened, 403), (await narrowed(site, "read"), 403), (given, 200)):
            async with site.here.http(token) as http:
                answer = await http.post("/ws-user-ada/services/sums/work", json={})
                assert answer.status_code == status, answer.text
        assert len(site.api.seen) == 1


async def test_a_service_of_a_program_with_such_a_token_is_nobodys_own() -> None:
    async with proxied() as site:
        await site.account("bob", CANARY)
        sensor = await site.here.connect("sensor", token=await narrowed(site, "read_write"))
        needs = [{"provider": "ledger", "scopes": ["read"]}]
        config = {"visibility": "protected", "require_context": True, "needs": needs}
        await sensor.register_service({"id": "sums", "config": config, "work": lambda context=None: "done"})
        async with site.here.http(await site.here.token("bob")) as bob:
            answer = await bob.post("/ws-user-bob/services/sums/work", json={})
        assert (answer.status_code, "/approve/" in answer.text) == (403, True)
    made = replace(service_of("bob"), delegated=True)
    assert packing.service(packing.unpack(packing.pack(packing.of_service(made)))) == made


# A second credential


@pytest.mark.parametrize(
    "header",
    ["access_token", "api_key", "token", "x-api-key", "private-token", "x_http_method_override", "x_forwarded_for"],
)
async def test_a_second_credential_or_a_hidden_order_in_a_header_is_refused(header: str) -> None:
    async with proxied() as site:
        await site.account("bob", CANARY)
        answer = await site.via(await site.ticket(), "/me", headers={header: "somebody-elses"})
        assert (answer.status_code, site.api.seen) == (400, [])


async def test_a_second_credential_is_found_behind_a_semicolon_and_in_parts_of_a_form() -> None:
    async with proxied() as site:
        await site.account("bob", CANARY)
        ticket = await site.ticket()
        assert (await site.via(ticket, "/me?a=b;access_token=x")).status_code == 400
        assert (await site.via(ticket, "/me", method="POST", data={"private_token": "x"})).status_code == 400
        parts = {"access_token": (None, "x"), "a": ("a.txt", b"x")}
        assert (await site.via(ticket, "/me", method="POST", files=parts)).status_code == 400
        assert site.api.seen == []
        fine = {"key": (None, "x"), "a": ("a.txt", b"x")}
        assert (await site.via(ticket, "/me?a=b;c=d", method="POST", files=fine)).status_code == 200
