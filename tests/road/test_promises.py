"""Promises of script mode that no other test shows: the callback's odd answers, whose credential it is, the policy."""

import asyncio
import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.routing import Mount, Route

from tests.road.support import Ports, client_section, get, send, write_settings
from valetkey import (
    AuthProvider,
    AuthRefused,
    AuthRequired,
    FutureStore,
    InvalidArguments,
    Pocket,
    function_tool,
)
from valetkey.errors import Denied, ValetkeyError
from valetkey.identity.chain import Chain
from valetkey.identity.verifiers.vouched import HOST, Vouched, owner_of
from valetkey.model.calls import Call, Presented
from valetkey.model.needs import PUBLIC, Need, Needs
from valetkey.policy.decide import Policy
from valetkey.secret import Secret
from valetkey.testing.oauth.ledger import Token
from valetkey.testing.oauth_server import OAuthServer
from valetkey.wiring import build

OWNER = owner_of("default")


@function_tool(auth_provider=AuthProvider.GOOGLE)
async def keys(**kwargs) -> dict[str, int]:
    """Tell the names of what is lent, with the length of each."""
    return {name: len(value) for name, value in kwargs.items()}


@function_tool(auth_provider=AuthProvider.SLACK)
def slack_keys(**kwargs) -> list[str]:
    """Tell the names of what is lent."""
    return sorted(kwargs)


@pytest.fixture
def server(ports: Ports) -> Iterator[OAuthServer]:
    with OAuthServer() as server:
        write_settings(ports, client_section("google", server))
        yield server


@pytest.fixture
def pocket(server) -> Iterator[Pocket]:
    with Pocket(tools=[keys]) as pocket:
        yield pocket


async def link(pocket: Pocket, thread_id: str = "default", profile: str = "default") -> str:
    (prompt,) = await pocket.initialize_tool_auth(thread_id, profile)
    return prompt.url


async def visit(url: str, **more):
    return await asyncio.to_thread(lambda: get(url, **more))


async def connect(pocket: Pocket, server: OAuthServer, thread_id: str = "default", profile: str = "default") -> None:
    page = await visit(server.approve(await link(pocket, thread_id, profile)))
    assert page.status == 200, page.body


class TestServer:
    async def test_no_route_but_health_answers_without_a_state(self, pocket, ports):
        await link(pocket)
        server = pocket.system.links.server
        routes = list(paths(server._app()._app.routes))
        assert {path for path, _ in routes} >= {
            "/health",
            "/auth/{provider}/oauth2/callback",
            "/proxy/auth/{provider}/token",
        }
        for path, methods in routes:
            where = path.replace("{provider}", "google").replace("{interaction}", "0" * 64)
            for method in methods - {"HEAD"}:
                page = await asyncio.to_thread(
                    lambda: send(method, f"https://localhost:{ports.public}{where}", body="")  # noqa: B023
                )
                assert page.status == 200 if path.endswith("/health") else 400 <= page.status < 500, (method, path)
        for path in ("/docs", "/openapi.json", "/auth/docs", "/auth/openapi.json", "/proxy/auth/docs", "/metrics"):
            assert (await visit(f"https://localhost:{ports.public}{path}")).status == 404


def paths(routes, prefix: str = "") -> Iterator[tuple[str, set[str]]]:
    """Every route of the app, with its methods."""
    for route in routes:
        if isinstance(route, Mount):
            yield from paths(route.routes, prefix + route.path)
        elif isinstance(route, Route):
            yield prefix + route.path, set(route.methods or ())


RESOLVING = "import sys; from valetkey import FutureStore; FutureStore.resolve_future(sys.argv[1], sys.argv[2])"


async def test_a_future_is_resolved_from_another_process(pocket, server):
    callback = parse_qs(urlsplit(server.approve(await link(pocket))).query)
    state = callback["state"][0]
    waiting = FutureStore.get_future(state)
    assert waiting is not None, "the state is the future_uid"
    assert waiting.future.done() is False
    ran = await asyncio.to_thread(
        lambda: subprocess.run(
            [sys.executable, "-c", RESOLVING, state, "brought back"],
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
        )
    )
    assert ran.returncode == 0, ran.stderr
    async with asyncio.timeout(10):
        assert await waiting.future == "brought back"
    FutureStore.resolve_future(state, "something else")
    assert waiting.future.result() == "brought back", "one that is done stays as it is"
    with pytest.raises(ValueError, match="not known"):
        FutureStore.resolve_future("x" * 43, "code")


class TestWhose:
    """Rows X-06, X-23, X-32 and X-34: no caller, tool, profile or argument gets the credential of another."""

    async def test_each_tool_sees_its_own_providers_credential_only(self, both):
        slack, google = both
        with Pocket(tools=[keys, slack_keys]) as pocket:
            for prompt in await pocket.initialize_tool_auth():
                server = google if prompt.provider == "google" else slack
                assert (await visit(server.approve(prompt.url))).status == 200
            assert set(json.loads(await pocket.ainvoke("keys", {}))) == {"GOOGLE_TOKEN", "thread_id", "profile"}
            assert json.loads(await pocket.ainvoke("slack_keys", {})) == ["SLACK_BOT_TOKEN", "profile", "thread_id"]

    @pytest.mark.parametrize(
        "name",
        [
            "GOOGLE_TOKEN",
            "thread_id",
            "profile",
            "kwargs",
            "connection_id",
            "user",
            "scope",
            "scopes",
            "base_url",
            "verify_tls",
        ],
    )
    async def test_no_argument_chooses_owner_account_scope_or_address(self, pocket, server, name):
        await connect(pocket, server)
        with pytest.raises(InvalidArguments, match=f"{name} is not a parameter"):
            await pocket.ainvoke("keys", {name: "mallory"})

    async def test_whoever_cancels_nobody_gets_anothers_answer(self, server):
        held: dict[str, str] = {}

        @function_tool(auth_provider=AuthProvider.GOOGLE)
        async def whose(thread_id: str, GOOGLE_TOKEN: str) -> bool:  # noqa: N803
            """Tell whether the token is the thread's own."""
            await asyncio.sleep(0)
            return held[thread_id] == GOOGLE_TOKEN

        with Pocket(tools=[whose]) as pocket:
            for number in range(6):
                thread = f"thread-{number}"
                await connect(pocket, server, thread)
                context = pocket.auth.get_auth_context(AuthProvider.GOOGLE, thread)
                assert context is not None
                held[thread] = context.access_token
            assert len(set(held.values())) == 6
            calls = [
                (number, asyncio.create_task(pocket.ainvoke("whose", {}, thread_id=f"thread-{number % 6}")))
                for number in range(300)
            ]
            for number, call in calls:
                if number % 3 == 0:
                    for _ in range(number % 5):
                        await asyncio.sleep(0)
                    call.cancel()
            ended = await asyncio.gather(*(call for _, call in calls), return_exceptions=True)
        assert {answer for answer in ended if isinstance(answer, str)} == {"true"}
        assert all(isinstance(answer, str | asyncio.CancelledError) for answer in ended)

    async def test_what_was_unsealed_for_a_call_is_gone_after_it(self, pocket, server):
        await connect(pocket, server)
        assert json.loads(await pocket.ainvoke("keys", {}))["GOOGLE_TOKEN"] > 10
        gc.collect()
        alive = [each for each in gc.get_objects() if isinstance(each, Secret) and each.reveal() in server.issued]
        assert alive == []


async def allowed(needs: Needs, **call: object):
    caller = await Chain([Vouched()]).identify(Presented(scheme=HOST, value="ann"))
    declared = Call(tool="post", needs=needs, entrance="pocket")
    return await Policy().decide(caller, declared if not call else Call(**{"tool": "post", "needs": needs, **call}))  # type: ignore[arg-type]


class TestPolicy:
    """Decision 32: two rules for a script, and nothing else; the third is the chat's."""

    async def test_a_program_may_call_the_tools_of_its_own_pocket(self):
        decided = await allowed(PUBLIC)
        assert decided.rule == "own-pocket"
        assert decided.caller.owner == owner_of("ann")

    async def test_a_caller_may_use_their_own_connections_for_what_the_tool_declares(self):
        needs = Needs(((Need(provider="slack", scopes=frozenset({"chat:write"})),),))
        assert (await allowed(needs)).call.needs == needs

    @pytest.mark.parametrize("entrance", ["", "chat", "http"])
    async def test_whatever_no_rule_allows_is_refused_with_the_reason(self, entrance):
        with pytest.raises(Denied, match=r"No rule lets this caller call the tool post\. Everything is refused"):
            await allowed(PUBLIC, entrance=entrance)

    async def test_needs_that_are_not_the_tools_own_are_not_decided_on(self, pocket, server):
        # A call that claims fewer needs than its tool has is decided on the tool's.
        system = pocket.system
        call = Call(tool="keys", needs=PUBLIC, entrance="pocket", conversation="default", profile="default")
        with pytest.raises(AuthRequired):
            await system.road.travel(Presented(scheme=HOST, value="default"), pocket.tools["keys"], call)

    async def test_a_caller_that_nobody_vouches_for_goes_no_further(self, pocket):
        call = Call(tool="keys", needs=PUBLIC, entrance="pocket")
        with pytest.raises(ValetkeyError) as refused:
            await pocket.system.road.travel(Presented(scheme="bearer", value="x"), pocket.tools["keys"], call)
        assert refused.value.code == "unauthenticated"


class TestFlows:
    async def test_parallel_flows_of_one_owner_each_connect_their_own_account(self, pocket, server):
        callbacks = {
            profile: server.approve(await link(pocket, profile=profile), user=f"{profile}@example.test")
            for profile in ("work", "home", "default")
        }
        pages = await asyncio.gather(*(visit(callback) for callback in reversed(callbacks.values())))
        assert [page.status for page in pages] == [200, 200, 200]
        for profile in callbacks:
            context = pocket.auth.get_auth_context(AuthProvider.GOOGLE, profile=profile)
            assert context is not None
            found = server.bearer(f"Bearer {context.access_token}")
            assert isinstance(found, Token)
            assert found.family.subject == f"{profile}@example.test"

    async def test_a_refusal_ends_every_wait_and_the_next_link_is_a_new_one(self, pocket, server):
        first = await link(pocket)
        waiting = [asyncio.create_task(pocket.wait_tool_auth()) for _ in range(3)]
        await asyncio.sleep(0)
        assert (await visit(server.deny(first))).status == 403
        async with asyncio.timeout(5):
            told = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in told] == [AuthRefused] * 3
        assert await link(pocket) != first

    async def test_asked_for_are_the_recommended_the_tools_and_the_held_scopes_and_kept_are_those_granted(
        self, slack, ports
    ):
        write_settings(ports, client_section("slack", slack))
        first = function_tool(auth_provider=AuthProvider.SLACK, scopes=["files:read"])(slack_keys.func)
        with Pocket(tools=[first]) as pocket:
            asked = set(parse_qs(urlsplit(url := await link(pocket)).query)["user_scope"][0].split(","))
            assert asked >= {"files:read", "channels:history", "chat:write"}
            granted = sorted(asked - {"chat:write"})
            assert (await visit(slack.approve(url, scopes=granted))).status == 200
            (held,) = await pocket.auth.list_session_state("default")
            assert held["scope"] == granted
            more = pocket.auth.make_request(["users:read"], auth_provider=AuthProvider.SLACK)
            told = await pocket.auth.prepare(more, auth_provider=AuthProvider.SLACK)
            assert told is not None
            wider = set(parse_qs(urlsplit(told.rpartition(" ")[2]).query)["user_scope"][0].split(","))
            assert wider == asked | {"users:read"}

    async def test_a_profile_is_chosen_among_the_owners_own(self, server):
        @function_tool(auth_provider=AuthProvider.GOOGLE)
        def who(profile: str, GOOGLE_TOKEN: str) -> list[str]:  # noqa: N803
            """Tell the profile and whose token it is."""
            found = server.bearer(f"Bearer {GOOGLE_TOKEN}")
            return [profile, found.family.subject if isinstance(found, Token) else ""]

        with Pocket(tools=[who], use_profile=True) as pocket:
            for profile in ("work", "home"):
                callback = server.approve(await link(pocket, "ann", profile), user=profile)
                assert (await visit(callback)).status == 200
            (told,) = await asyncio.to_thread(pocket.describe_tools, "ann")
            assert told["parameters"]["properties"]["profile"]["enum"] == ["home", "work"]
            assert "profile" not in told["parameters"].get("required", [])
            (stranger,) = await asyncio.to_thread(pocket.describe_tools, "bob")
            assert "profile" not in stranger["parameters"].get("properties", {})
            assert json.loads(await pocket.ainvoke("who", {"profile": "work"}, thread_id="ann")) == ["work", "work"]
            for thread, profile in (("ann", "other"), ("bob", "work")):
                with pytest.raises(InvalidArguments, match="profile has to be one of"):
                    await pocket.ainvoke("who", {"profile": profile}, thread_id=thread)


class NotTakenError(Exception):
    """What an HTTP client raises for a 401: status and address are where such clients have them."""

    def __init__(self, url: str) -> None:
        super().__init__("401")
        self.status_code = 401
        self.url = url


async def test_a_401_makes_one_refresh_and_one_more_try_and_then_the_person_is_asked(server):
    lent: list[str] = []

    @function_tool(auth_provider=AuthProvider.GOOGLE)
    def refused(GOOGLE_TOKEN: str) -> str:  # noqa: N803
        """Be refused."""
        lent.append(GOOGLE_TOKEN)
        raise NotTakenError(f"{server.url}/api")

    with Pocket(tools=[refused]) as pocket:
        await connect(pocket, server)
        told, paused = await pocket.ainvoke_with_state("refused", {})
        assert (told, paused) == ("There was an error while executing the tool: 401", False)
        assert (len(lent), len(set(lent)), server.refreshes) == (2, 2, 1)
        told, paused = await pocket.ainvoke_with_state("refused", {})
        assert paused
        assert told.startswith("User needs to authenticate using the following URL: ")
        assert (len(lent), server.refreshes) == (2, 1), "a credential that is refused is not offered again"


class TestHome:
    async def test_accounts_are_kept_in_the_persons_folder_which_only_they_may_enter(self, pocket, server, home):
        assert not home.exists(), "nothing is written before it is needed"
        before = os.umask(0)
        try:
            await connect(pocket, server)
        finally:
            os.umask(before)
        assert (home / "valetkey.db").is_file()
        # The public half of the certificate is no secret; it lies in a folder that nobody else may enter.
        kept = [home, *(path for path in home.rglob("*") if path.name != "loopback.crt")]
        assert {"valetkey.db", "valetkey.db-wal", "vault.keys", "loopback.pem"} <= {path.name for path in kept}
        assert {path.name: path.stat().st_mode & 0o777 for path in kept} == {
            path.name: 0o700 if path.is_dir() else 0o600 for path in kept
        }

    def test_the_folder_is_the_homes_own_unless_it_is_named(self, tmp_path):
        assert build.home_folder({}) == Path.home() / ".valetkey"
        assert build.home_folder({"VALETKEY_HOME": str(tmp_path)}) == tmp_path
