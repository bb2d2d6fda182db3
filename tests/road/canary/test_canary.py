"""Canaries: the secrets of whole journeys are in nothing that comes out, but where they were lent."""

import asyncio
import base64
import json
import logging
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest

from tests.road.canary.journey import CLIENT_SECRET, OWNER, PASTED, Journey, length
from tests.road.forms import open_form
from tests.road.support import write_settings
from valetkey import AuthenticateRequest, AuthProvider, Pocket, ValetkeyError, config, function_tool
from valetkey.model.interactions import InteractionKind
from valetkey.wiring import build


class TestOAuth:
    @pytest.mark.requirement("E-01")
    @pytest.mark.parametrize("client_auth", ["client_secret_post", "client_secret_basic"])
    async def test_from_the_first_link_to_the_last_revocation(self, journey, client_auth):
        watch, server = journey.watch, journey.server
        with journey.pocket(length, client_auth=client_auth) as pocket:
            (prompt,) = await pocket.initialize_tool_auth()
            watch.secret(await journey.verifier(), dict(parse_qsl(urlsplit(prompt.url).query))["state"])
            watch.files("while it waits")
            await asyncio.to_thread(watch.get, server.approve(prompt.url))
            await pocket.wait_tool_auth()
            watch.result("first", await pocket.ainvoke("length", {}))
            journey.clock.advance(3601)
            watch.result("refreshed", await pocket.ainvoke("length", {}))
            watch.result("states", await pocket.auth.list_session_state("default"))
            watch.files("refreshed")
            assert await asyncio.to_thread(pocket.auth.delete_session, AuthProvider("canary"))
        assert (server.exchanges, server.refreshes, server.revocations) == (1, 1, 2)
        journey.end()

    async def test_the_answer_is_sealed_while_it_waits_for_whoever_settles_it(self, journey):
        pocket = journey.pocket(length)
        (prompt,) = await pocket.initialize_tool_auth()
        callback = journey.server.approve(prompt.url)
        journey.server.pause()
        visit = asyncio.create_task(asyncio.to_thread(journey.watch.get, callback))
        await asyncio.to_thread(journey.server.wait_held, 1)
        journey.watch.files("while the code is exchanged")
        journey.server.resume()
        await visit
        journey.end()


TWO_LINES, TOO_LONG = f"{PASTED}\nsecond line", PASTED * 300


class TestPasted:
    @pytest.mark.parametrize(
        ("provider", "right", "wrong"),
        [
            ("slack", {"access_token": PASTED}, [f"Bearer {PASTED}", TWO_LINES, TOO_LONG, f"{PASTED} é"]),
            ("basicauth", {"username": "somebody", "password": f"{PASTED} wörd"}, [TWO_LINES, TOO_LONG]),
            ("kraken", {"api_key": f"key{PASTED}", "api_secret": f"private{PASTED}"}, [TWO_LINES, TOO_LONG]),
        ],
    )
    async def test_a_pasted_value_wrong_then_right(self, watch, ports, provider, right, wrong):
        write_settings(ports)
        handler = {"slack": "slack-token"}.get(provider)

        @function_tool(auth_provider=AuthProvider(provider), auth_handler=handler)
        def count(**kwargs) -> dict[str, Any]:
            """Count what is there, and tell it."""
            return {"size": len(kwargs), "all": kwargs}

        with Pocket(tools=[count]) as pocket:
            (prompt,) = await pocket.initialize_tool_auth()
            form = await asyncio.to_thread(open_form, prompt.url)
            watch.page(form.shown)
            for name in right:
                for value in wrong:
                    page = await asyncio.to_thread(lambda: form.send(**right | {name: value}))  # noqa: B023
                    assert page.status == 400
                    watch.page(page)
            watch.files("after wrong values")
            page = await asyncio.to_thread(lambda: form.send(**right))
            assert page.status == 200
            watch.page(page)
            told = await pocket.ainvoke("count", {})
            assert "***" in told
            watch.result("counted", told)
            watch.files("connected")
            context = pocket.auth.get_auth_context(AuthProvider(provider))
            system = pocket.system
            (row,) = await system.stores.connections.of_owner(OWNER)
            watch.objects(context=context, credential=system.sealer.open_credential(row))
            await asyncio.to_thread(pocket.auth.delete_session, AuthProvider(provider))
        watch.files("after it was forgotten")
        build.use(None)
        watch.files("after its end")
        watch.secret(PASTED, *(value for name, value in right.items() if name != "username"))
        assert watch.sightings() == []

    async def test_a_short_value_while_the_loops_tell_what_they_run(self, watch, ports, monkeypatch):
        # In their debug mode loops log callbacks with their arguments, cut to 30 characters, and tasks with results.
        monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
        short = "shortcanaryvalue"
        write_settings(ports)

        @function_tool(auth_provider=AuthProvider.SLACK, auth_handler="slack-token")
        def tell(**kwargs) -> str:
            """Tell the token."""
            return str(kwargs["SLACK_BOT_TOKEN"])

        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        loop.slow_callback_duration = 0.0
        with Pocket(tools=[tell]) as pocket:
            (prompt,) = await pocket.initialize_tool_auth()
            home: Any = pocket.system.home
            home._loop.slow_callback_duration = 0.0
            form = await asyncio.to_thread(open_form, prompt.url)
            assert (await asyncio.to_thread(lambda: form.send(access_token=short))).status == 200
            watch.result("told", await pocket.ainvoke("tell", {}))
        loop.set_debug(False)
        assert any("Executing <" in line for line in watch.logged)
        watch.secret(short)
        assert watch.sightings() == []

    async def test_a_value_of_the_environment(self, watch, ports, monkeypatch):
        monkeypatch.setenv("MY_OWN_TOKEN", PASTED)
        write_settings(ports, '[auth.slack]\nenvironment = { SLACK_BOT_TOKEN = "MY_OWN_TOKEN" }')

        @function_tool(auth_provider=AuthProvider.SLACK)
        def tell(**kwargs) -> list[str]:
            """Tell the token."""
            return [kwargs["SLACK_BOT_TOKEN"], f"and {PASTED}!"]

        with Pocket(tools=[tell]) as pocket:
            result = await pocket.ainvoke("tell", {})
            assert json.loads(result) == ["***", "and ***!"]
            watch.result("told", result)
            watch.objects(system=pocket.system, config=pocket.system.config, tool=tell, pocket=pocket)
            monkeypatch.setenv("MY_OWN_TOKEN", "")
            with watch.raising(ValetkeyError):
                await pocket.ainvoke("tell", {})
        watch.files("after its end")
        watch.secret(PASTED)
        assert watch.sightings() == []


class OwnRequest(AuthenticateRequest):
    client_secret: str


async def test_reprs_of_the_public_objects(journey):
    watch = journey.watch
    made = journey.tool(length)
    pocket = Pocket(tools=[made])
    (prompt,) = await pocket.initialize_tool_auth()
    system = pocket.system
    (waiting,) = await system.interactions.of_owner(OWNER, InteractionKind.CONNECT)
    watch.secret(await journey.verifier())
    await asyncio.to_thread(watch.get, journey.server.approve(prompt.url))
    (row,) = await system.stores.connections.of_owner(OWNER)
    handler = system.handling.find(row.handler, row.provider)
    credential = system.sealer.open_credential(row)
    seen: dict[str, Any] = {}
    first = type(made).run

    async def run(self, lent, arguments):
        seen["lent"] = lent
        return await first(self, lent, arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(made), "run", run)
        seen["result"] = await pocket.travel("length", {}, "default", "default")
    assert seen["lent"].variables["CANARY_TOKEN"].reveal() in journey.server.issued
    system.config.auth.canary = {"client_id": "x", "client_secret": CLIENT_SECRET}
    watch.objects(
        pocket=pocket,
        auth=pocket.auth,
        system=system,
        config=system.config,
        auth_config=system.config.auth,
        provider_config=system.config.auth.canary,
        client=system.clients.of("canary"),
        sources=system.config.sources,
        general=system.config.general,
        layers=system.config.sources.layers,
        default_config=config,
        context=handler.context(credential, row),
        connection=row,
        interaction=waiting,
        handler=handler,
        credential=credential,
        inline=made.inline,
        tool=made,
        request=pocket.auth.make_request(auth_provider=AuthProvider("canary")),
        handling=system.handling,
        registry=system.registry,
        provider=handler.provider,
        sealer=system.sealer,
        interactions=system.interactions,
        states=await pocket.auth.list_session_state("default"),
        own_request=OwnRequest(client_secret=CLIENT_SECRET),
        **seen,
    )
    journey.end()


async def test_a_key_that_we_made_is_in_its_own_file_only(watch, server, clock, ports):
    journey = Journey(watch, server, clock, ports, key="")
    pocket = journey.pocket(length)
    await journey.connect(pocket)
    watch.result("told", await pocket.ainvoke("length", {}))
    watch.files("while open")
    key = (journey.system.folder / "vault.keys").read_text("utf-8").split()[-1]
    watch.secret(key.rstrip("="))
    assert watch.sightings() == ["file person/.valetkey/vault.keys while open: raw"]
    assert watch.raw_key(key) == []


PLANTS = {
    "result": lambda journey, token: journey.watch.result("told", {"a": token}),
    "log": lambda journey, token: logging.getLogger("some.where").debug("sent %s", base64.b64encode(token.encode())),
    "trace": lambda journey, token: logging.getLogger("some.where").log(5, "sent %s", quote(token)),
    "stdout": lambda journey, token: print(token.encode().hex()),  # noqa: T201
    "file": lambda journey, token: (journey.system.folder / "x.tmp").write_text(json.dumps(token)),
    "repr": lambda journey, token: journey.watch.objects(thing=SimpleNamespace(it=token)),
}


@pytest.mark.parametrize("place", PLANTS)
async def test_a_canary_that_sings_is_heard(journey, place):
    pocket = journey.pocket(length)
    await journey.connect(pocket)
    journey.watch.files("before")
    PLANTS[place](journey, journey.server.issued[0])
    with pytest.raises(AssertionError, match=r": (raw|base64|URL-encoded|hexadecimal|JSON-escaped)"):
        journey.end()
