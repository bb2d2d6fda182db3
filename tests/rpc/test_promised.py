"""What the contract promises of calls as a whole: which token counts, where a caller acts, what a call costs."""

from __future__ import annotations

import asyncio
import base64
import random
from collections import Counter
from typing import Any

import httpx2
import pytest
from hypha_rpc.rpc import RPC

from tests.proxy.kit import proxied
from tests.rpc.place import place
from tests.rpc.test_http_calls import ADA, SERVICE, TELLING, shared
from tests.rpc.test_http_streams import given_up

OWN = """
async def start(server):
    await server.register_service({"id": "own", "config": {"visibility": "public"}, "add": lambda a, b: a + b})
"""


@pytest.mark.requirement("hypha.1.5.order")
async def test_a_good_reconnection_token_goes_before_a_token() -> None:
    async with place() as here:
        first = await here.raw("c1", token=await here.token("ada"))
        text = first.info["reconnection_token"]
        again = await here.raw("c1", token=await here.token("bob"), reconnection_token=text)
        assert (again.info["user"]["id"], again.info["workspace"]) == ("ada", "ws-user-ada")


@pytest.mark.requirement("hypha.3.2.workspace")
async def test_where_a_caller_over_http_acts() -> None:
    async with shared(TELLING) as (here, _, http):
        both = {"ws-user-eve": "a", "ws-user-ada": "r"}
        callers: dict[str, dict[str, Any]] = {
            "ws-user-ada": {"workspaces": both},  # of the URL, where they may read
            "ws-user-eve": {"workspaces": both, "workspace": "ws-user-eve"},  # that of the token, always
            "ws-user-bob": {"name": "bob"},  # else the own one
        }
        for workspace, about in callers.items():
            bearer = {"authorization": f"Bearer {await here.token(**{'name': 'eve', **about})}"}
            assert (await http.post(f"{ADA}/telling/whoami", headers=bearer)).json()["ws"] == workspace


@pytest.mark.requirement("hypha.4.12", "E3.no-rpc-object")
async def test_a_call_over_http_makes_no_rpc_object(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    startup = tmp_path / "own.py"
    startup.write_text(OWN)
    async with place(f"{startup}:start") as here:
        made: list[Any] = []
        plain = RPC.__init__

        def counting(self: Any, *args: Any, **kwargs: Any) -> None:
            made.append(self)
            plain(self, *args, **kwargs)

        monkeypatch.setattr(RPC, "__init__", counting)
        client = await here.connect("prog", token=await here.token("ada"))
        assert made == [client.rpc]
        await client.register_service(dict(SERVICE))
        async with here.http() as http:
            for path in (f"{ADA}/calc/add", "/public/services/own/add"):
                answers = await asyncio.gather(*(http.post(path, json={"a": n, "b": 1}) for n in range(5)))
                assert [each.json() for each in answers] == [1, 2, 3, 4, 5]
        assert made == [client.rpc]
        assert [link.member.client for link in here.services.relay.links()] == ["prog"]


@pytest.mark.requirement("X-34.services")
async def test_whoever_gives_up_nobody_gets_anothers_answer() -> None:
    count = 300
    draw = random.Random(7)  # noqa: S311 - which ones give up, and when
    seen: Counter[int] = Counter()

    async def echo(number: int) -> int:
        seen[number] += 1
        for _ in range(draw.randrange(20)):
            await asyncio.sleep(0)
        return number

    async with shared({"id": "echo", "config": {"visibility": "public"}, "echo": echo}) as (here, _, http):

        async def ask(number: int) -> int | None:
            answer = await http.post(f"{ADA}/echo/echo", json={"number": number})
            return int(answer.text)

        for start in range(0, count, 50):
            calls = [asyncio.ensure_future(ask(number)) for number in range(start, start + 50)]
            for call in draw.sample(calls, 25):
                await asyncio.sleep(0)
                call.cancel()
            ended = await asyncio.gather(*calls, return_exceptions=True)
            answered = [(number, got) for number, got in enumerate(ended, start) if not isinstance(got, BaseException)]
            assert len(answered) >= 25
            assert all(number == got for number, got in answered)
        assert max(seen.values()) == 1
        await given_up(here)


@pytest.mark.requirement("d30.carriers-via")
async def test_the_carriers_of_a_ticket() -> None:
    async with proxied() as site:
        await site.account("bob", "ldg-canary-0123456789abcdefghij")
        ticket = await site.ticket()
        basic = base64.b64encode(f"git:{ticket}".encode()).decode()
        async with httpx2.AsyncClient(base_url=site.here.base_url, trust_env=False) as client:
            for carrier in (f"Bearer {ticket}", ticket, f"Basic {basic}"):
                assert (await client.get("/via/ledger/me", headers={"authorization": carrier})).status_code == 200
            for name in ("access_token", "token", "ticket"):
                assert (await client.get(f"/via/ledger/me?{name}={ticket}")).status_code == 401
            client.cookies.set("valetkey", ticket, domain="127.0.0.1")
            assert (await client.get("/via/ledger/me")).status_code == 401
        assert len(site.api.seen) == 3
