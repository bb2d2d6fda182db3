"""What programs written for seeds 000-002 rely on: accounts, links, callbacks (contract, parts 1.1, 1.4, 1.7 and 2)."""

import asyncio
import socket
import ssl
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from fastapi import APIRouter
from pydantic import Field

from tests.road.support import Ports, client_section, get, write_settings
from valetkey import (
    AuthContext,
    AuthenticateRequest,
    AuthHandlerInterface,
    AuthProvider,
    AuthRefused,
    AuthRequired,
    AuthState,
    FutureStore,
    InvalidAuthState,
    InvalidSetting,
    MissingSetting,
    OAuthHandler,
    Pocket,
    PocketAuth,
    PortTaken,
    function_tool,
    tool,
)
from valetkey.testing.oauth_server import OAuthServer

PREFIX = "User needs to authenticate using the following URL: "
RECOMMENDED = {
    "channels:history",
    "channels:read",
    "chat:write",
    "groups:history",
    "groups:read",
    "im:history",
    "mpim:history",
    "reactions:read",
    "reactions:write",
}


@function_tool(auth_provider=AuthProvider.GOOGLE, scopes=["one", "two"])
def calendar(**kwargs: Any) -> list[str]:
    """Read."""
    return [f"{len(kwargs['GOOGLE_TOKEN'])} characters", kwargs["thread_id"], kwargs["profile"]]


@function_tool(auth_provider=AuthProvider.SLACK, scopes=["mine:read"])
async def messages(SLACK_BOT_TOKEN: str) -> str:  # noqa: N803
    """Read."""
    return f"{len(SLACK_BOT_TOKEN)} characters"


@function_tool(auth_provider=AuthProvider.GOOGLE, scopes=["two", "three"])
def drive(GOOGLE_TOKEN: str) -> str:  # noqa: N803
    """Read."""
    return f"{len(GOOGLE_TOKEN)} characters"


@tool
def public() -> str:
    """Need nothing."""
    return "here"


@pytest.fixture
def pocket(both):
    with Pocket([calendar, messages, drive, public]) as pocket:
        yield pocket


def asked(link: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()}


async def visit(url: str):
    return await asyncio.to_thread(get, url)


async def connect(pocket: Pocket, both, thread_id: str = "default", profile: str = "default") -> None:
    for server, prompt in zip(reversed(both), await pocket.initialize_tool_auth(thread_id, profile), strict=True):
        assert (await visit(server.approve(prompt.url))).status == 200
    assert await pocket.wait_tool_auth(thread_id, profile) is True


# Pocket


@pytest.mark.requirement("L-16")
async def test_initialize_asks_once_for_each_provider_in_the_tools_order_for_the_union_of_scopes(pocket):
    google, slack = await pocket.initialize_tool_auth()
    assert (google.provider, slack.provider) == ("google", "slack")
    assert (str(google), isinstance(google, str)) == (PREFIX + google.url, True)
    assert set(asked(google.url)["scope"].split()) == {"one", "two", "three"}
    assert set(asked(slack.url)["user_scope"].split(",")) == RECOMMENDED | {"mine:read"}
    assert google.removeprefix("User needs to authenticate using the following URL:").strip() == google.url


async def test_every_link_has_a_state_of_its_own_s256_and_the_contracts_redirect_uri(pocket, ports):
    links = [asked(prompt.url) for prompt in await pocket.initialize_tool_auth()]
    assert {link["code_challenge_method"] for link in links} == {"S256"}
    assert all(len(link["state"]) == 43 for link in links), "32 bytes, base64url (decision 8)"
    assert links[0]["state"] != links[1]["state"]
    assert links[1]["redirect_uri"] == f"https://localhost:{ports.public}/proxy/auth/slack/oauth2/callback"


async def test_a_call_without_an_account_gives_the_link_and_the_same_one_again(pocket, both):
    first, paused = await pocket.ainvoke_with_state("calendar", {}, "ann", "work")
    assert paused
    assert first.startswith(PREFIX)
    assert await pocket.ainvoke("calendar", {}, "ann", "work") == first
    assert await pocket.prepare_auth("calendar", "ann", "work") == first
    assert await pocket.prepare_auth(["public", "calendar"], "ann", "work") == first
    assert await pocket.prepare_auth("public") is None
    page = await visit(both[1].approve(first.removeprefix(PREFIX)))
    assert page.status == 200
    result = await pocket.ainvoke_with_state("calendar", {}, "ann", "work")
    assert result[1] is False
    assert '"ann","work"' in result[0]


async def test_connected_providers_are_absent_from_a_second_initialize(pocket, both):
    await connect(pocket, both)
    assert await pocket.initialize_tool_auth() == []
    assert await pocket.wait_tool_auth() is True
    assert (await pocket.ainvoke("drive", {})).endswith("characters")
    assert set(await pocket.authenticate("calendar")) == {"GOOGLE_TOKEN"}
    assert await pocket.authenticate("public") == {}
    assert await pocket.tool_call("drive", {}) == await pocket.ainvoke("drive", {})


async def test_waiting_for_what_nobody_began_is_an_error_at_once(pocket):
    with pytest.raises(InvalidAuthState, match="begun"):
        await pocket.wait_tool_auth("nobody")
    with pytest.raises(AuthRequired) as required:
        await pocket.tool_call("drive", {}, "nobody")
    assert required.value.url
    assert required.value.provider == "google"


@pytest.mark.parametrize("begun_by", ["initialize", "call"])
async def test_a_refusal_before_the_wait_ends_it_at_once_too(pocket, both, begun_by):
    _, google = both
    if begun_by == "initialize":
        url = (await pocket.initialize_tool_auth())[0].url
    else:
        pocket.remove_tool("messages")
        url = (await pocket.ainvoke("drive", {})).removeprefix(PREFIX)
    assert (await visit(google.deny(url))).status == 403
    async with asyncio.timeout(5):
        with pytest.raises(AuthRefused):
            await pocket.wait_tool_auth()


async def test_a_call_that_needs_more_scopes_gives_a_link_and_the_old_token_still_serves(both):
    _, google = both
    with Pocket([calendar]) as first:
        link = (await first.ainvoke("calendar", {})).removeprefix(PREFIX)
        await visit(google.approve(link))
        assert (await first.ainvoke_with_state("calendar", {}))[1] is False
    with Pocket([calendar, drive]) as both_tools:
        more, paused = await both_tools.ainvoke_with_state("drive", {})
        assert paused
        assert set(asked(more.removeprefix(PREFIX))["scope"].split()) == {"one", "two", "three"}
        assert (await both_tools.ainvoke_with_state("calendar", {}))[1] is False
        await visit(google.approve(more.removeprefix(PREFIX)))
        assert (await both_tools.ainvoke_with_state("drive", {}))[1] is False


async def test_a_model_may_choose_among_the_owners_own_profiles_only(pocket, both):
    await connect(pocket, both, "ann", "work")
    choosing = Pocket([drive, public], use_profile=True)
    (told, nothing) = await asyncio.to_thread(choosing.describe_tools, "ann")
    assert told["parameters"]["properties"]["profile"]["enum"] == ["work"]
    assert "profile" not in nothing["parameters"]["properties"]
    assert (await choosing.ainvoke("drive", {"profile": "work"}, "ann")).endswith("characters")
    with pytest.raises(ValueError, match="default, work"):
        await choosing.ainvoke("drive", {"profile": "boss"}, "ann")
    (other, _) = await asyncio.to_thread(choosing.describe_tools, "bob")
    assert "profile" not in other["parameters"]["properties"]


def test_a_program_without_a_loop_of_its_own_goes_the_whole_way(pocket, both):
    assert pocket.remove_tool("messages")
    first, paused = pocket.invoke_with_state("drive", {})
    assert paused
    (prompt,) = asyncio.run(pocket.initialize_tool_auth())
    assert get(both[1].approve(prompt.url)).status == 200
    assert asyncio.run(pocket.wait_tool_auth()) is True
    assert pocket.invoke("drive", {}).endswith("characters")
    assert asked(first)["state"] == asked(prompt.url)["state"], "one flow, widened"
    assert {name: [one.name for one in tools] for name, tools in pocket.grouping_tool_by_auth_provider().items()} == {
        "GOOGLE": ["calendar", "drive"]
    }


async def test_a_plain_call_inside_a_loop_names_the_pocket_instead_of_waiting(both):
    with pytest.raises(AuthRequired, match=r"await pocket\.ainvoke\('drive'") as required:
        drive()
    assert required.value.url in str(required.value)


# PocketAuth


async def test_pocket_auth_takes_its_arguments_by_their_places(both):
    _, google = both
    auth = PocketAuth()
    request = auth.make_request(["one"], None, AuthProvider.GOOGLE)
    place = (None, AuthProvider.GOOGLE, "ann", "work")
    assert await auth.check(request, *place) is AuthState.NO_SESSION
    told = await auth.prepare(request, *place)
    assert told is not None
    assert await auth.prepare(request, *place) == told
    assert await auth.check(request, *place) is AuthState.PENDING_RESOLVE
    (pending,) = await auth.list_session_state("ann", AuthProvider.GOOGLE)
    assert {key: pending[key] for key in ("provider", "scope", "state")} == {
        "provider": "google",
        "scope": ["one"],
        "state": "pending_resolve",
    }
    assert auth.get_auth_context(AuthProvider.GOOGLE, "ann", "work") is None
    await visit(google.approve(told.removeprefix(PREFIX)))
    context = await auth.authenticate_async(request, *place)
    assert isinstance(context, AuthContext)
    assert context.to_dict() == {"GOOGLE_TOKEN": context.access_token}
    assert context.expires_at is not None
    assert await auth.prepare(request, *place) is None
    assert auth.delete_session(AuthProvider.GOOGLE, "ann", "work") is True
    assert await auth.list_session_state("ann") == []


# Settings of providers


async def test_accounts_in_memory_leave_neither_a_database_nor_a_key(ports, home):
    with OAuthServer() as google:
        write_settings(ports, client_section("google", google), '[session]\nsession_type = "in_memory"\n')
        with Pocket([drive]) as pocket:
            await visit(google.approve((await pocket.ainvoke("drive", {})).removeprefix(PREFIX)))
            assert (await pocket.ainvoke("drive", {})).endswith("characters")
    assert [path.name for path in home.iterdir()] == ["tls"], "only the callback server's certificate"


async def test_the_environment_is_the_credential_where_settings_say_so(ports, monkeypatch, home):
    write_settings(ports, '[auth.slack]\nenvironment = {SLACK_BOT_TOKEN = "MY_VARIABLE"}\n')
    monkeypatch.setenv("SLACK_BOT_TOKEN", "not named in settings")
    with Pocket([messages]) as pocket:
        with pytest.raises(MissingSetting, match="MY_VARIABLE"):
            await pocket.ainvoke("messages", {})
        monkeypatch.setenv("MY_VARIABLE", "x" * 24)
        assert await pocket.initialize_tool_auth() == []
        assert await pocket.ainvoke("messages", {}) == "24 characters"


async def test_a_private_address_in_settings_is_refused_and_loopback_is_not(ports):
    write_settings(
        ports,
        '[auth.google]\nclient_id = "a"\nclient_secret = "b"\n'
        'authorize_url = "http://10.0.0.7/a"\ntoken_url = "http://10.0.0.7/t"\n',
    )
    with pytest.raises(InvalidSetting, match=r"auth\.google\.authorize_url"):
        await Pocket([drive]).ainvoke("drive", {})


async def test_a_provider_in_code_works_on_loopback_without_any_setting(ports):
    write_settings(ports)
    with OAuthServer() as server:
        handler = OAuthHandler(
            client_id=server.client.id,
            client_secret=server.client.secret or "",
            scopes=["read", "write"],
            auth_url=server.authorize_url,
            token_url=server.token_url,
            name="inlined",
        )

        @tool(auth=handler)
        def read(INLINED_TOKEN: str) -> str:  # noqa: N803
            return f"{len(INLINED_TOKEN)} characters"

        with Pocket([read]) as pocket:
            link = (await pocket.ainvoke("read", {})).removeprefix(PREFIX)
            assert set(asked(link)["scope"].split()) == {"read", "write"}
            await visit(server.approve(link))
            assert (await pocket.ainvoke("read", {})).endswith("characters")


# Handlers of one's own


class NotedHandler(AuthHandlerInterface):
    """Written as seed 002 prints the interface; its endpoints are one of each kind."""

    name: str = Field(default="noted-token", description="name of the authentication handler")
    description: str = "noted"
    scoped: bool = Field(default=False, description="no scopes")
    router = APIRouter(prefix="/noted")

    @staticmethod
    def provider() -> AuthProvider:
        return AuthProvider.register("noted")

    def make_request(self, auth_scopes: list[str] | None = None, **kwargs: Any) -> AuthenticateRequest:
        return AuthenticateRequest(auth_scopes=auth_scopes)

    def prepare(self, auth_req, thread_id, profile, future_uid, *args, **kwargs) -> str:
        FutureStore.create_future(future_uid, data={"thread_id": thread_id, "profile": profile})
        return f"{PREFIX}https://noted.example/?state={future_uid}"

    async def authenticate(self, auth_req, future_uid, *args, **kwargs) -> AuthContext:
        found = FutureStore.get_future(future_uid)
        assert found is not None
        code = await found.future
        return AuthContext(access_token=f"{code} for {found.data['thread_id']}", description="", expires_at=None)


@NotedHandler.router.get("/sync")
def answered(state: str, code: str) -> str:
    FutureStore.resolve_future(state, code)
    return "success"


@NotedHandler.router.get("/async")
async def answered_later(state: str, code: str) -> str:
    FutureStore.resolve_future(state, code)
    return "success"


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_handler_written_as_the_seed_prints_it_works_with_endpoints_of_either_kind(ports, kind):
    write_settings(ports)
    provider = NotedHandler.provider()

    @function_tool(auth_provider=provider)
    def note(NOTED_TOKEN: str) -> int:  # noqa: N803
        return len(NOTED_TOKEN)

    with Pocket([note], auth=PocketAuth(handlers=[NotedHandler])) as pocket:
        assert isinstance(pocket.auth.find_handler_instance("noted-token"), NotedHandler)
        assert list(pocket.auth.handlers) == ["noted-token"]
        (prompt,) = await pocket.initialize_tool_auth("ann")
        assert prompt.url.startswith("https://noted.example/?state="), "the sentence is not said twice"
        state = asked(prompt.url)["state"]
        here = f"https://localhost:{ports.public}/proxy/auth/noted/{kind}?state={state}&code=a-long-code"
        assert (await visit(here)).body == '"success"'
        assert (await visit(here)).status == 200, "one that is done stays as it is"
        assert await pocket.wait_tool_auth("ann") is True
        assert await pocket.ainvoke("note", {}, "ann") == str(len("a-long-code for ann"))
        with pytest.raises(ValueError, match="link"):
            FutureStore.resolve_future("nobody's", "x")
        assert FutureStore.get_future("nobody's") is None


# The callback server


async def test_it_serves_health_and_a_page_for_a_link_that_is_not_known(pocket, ports):
    await pocket.initialize_tool_auth()
    for base in (f"http://localhost:{ports.internal}", f"https://localhost:{ports.public}"):
        assert (await visit(f"{base}/health")).body == '{"status":"ok"}'
    page = await visit(f"https://localhost:{ports.public}/proxy/auth/slack/oauth2/callback?state=x&code=y")
    assert page.status == 400
    assert "ask for a new link" in page.body


async def test_it_speaks_https_by_a_certificate_of_its_own_for_loopback_only(pocket, ports):
    await pocket.initialize_tool_auth()
    pem = await asyncio.to_thread(ssl.get_server_certificate, ("localhost", ports.public))
    certificate = x509.load_pem_x509_certificate(pem.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert {str(address) for address in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1"}
    assert certificate.not_valid_before_utc < certificate.not_valid_after_utc


@pytest.mark.parametrize("setting", ["internal_server_port", "public_server_port"])
async def test_a_port_that_is_taken_is_named_with_its_setting_and_the_next_try_goes_on(pocket, both, ports, setting):
    port = ports.internal if setting == "internal_server_port" else ports.public
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(PortTaken, match=rf"Port {port} .*{setting}"):
            await pocket.ainvoke("drive", {})
    link, paused = await pocket.ainvoke_with_state("drive", {})
    assert paused
    assert (await visit(both[1].approve(link.removeprefix(PREFIX)))).status == 200
    assert (await pocket.ainvoke_with_state("drive", {}))[1] is False


async def test_without_the_proxy_and_the_prefix_the_callback_is_on_the_internal_port(ports):
    with OAuthServer() as google:
        write_settings(
            Ports(internal=ports.internal, public=ports.internal),
            client_section("google", google),
            general="enable_local_callback_proxy = false\n"
            'public_server_protocol = "http"\n'
            'callback_url_rewrite_prefix = ""',
        )
        with Pocket([drive]) as pocket:
            link = (await pocket.ainvoke("drive", {})).removeprefix(PREFIX)
            expected = f"http://localhost:{ports.internal}/auth/google/oauth2/callback"
            assert asked(link)["redirect_uri"] == expected
            assert (await visit(google.approve(link))).status == 200
