"""What readers of the road found missing, and is mended."""

import asyncio

import pytest

from tests.road.support import CALENDAR as A
from tests.road.support import Ports, connected, get, read, send, timed, write_settings
from valetkey import (
    AuthHandlerInterface,
    AuthProvider,
    FutureStore,
    InMemorySessionStorage,
    InvalidArguments,
    InvalidAuthState,
    InvalidSetting,
    MissingSetting,
    Pocket,
    PocketAuth,
    StoreUnavailable,
    Unauthenticated,
    UnknownProvider,
    UnknownTool,
    config,
    function_tool,
)


class Mine(AuthHandlerInterface):
    name = "google-mine"
    scoped = True

    @staticmethod
    def provider():
        return AuthProvider.GOOGLE

    def make_request(self, auth_scopes=None, **kwargs):
        from valetkey import AuthenticateRequest

        return AuthenticateRequest(auth_scopes=auth_scopes)

    def prepare(self, auth_req, thread_id, profile, future_uid, *args, **kwargs):
        FutureStore.create_future(future_uid)
        return f"https://mine.example/?state={future_uid}"

    async def authenticate(self, auth_req, future_uid, *args, **kwargs):
        raise NotImplementedError


async def test_a_rotation_that_the_database_cannot_take_at_once_is_not_lost(server, clock, monkeypatch):
    pocket = await connected(server)
    clock.advance(3601)
    store = pocket.system.stores.connections
    save, refused = store.save, list[int]()

    async def locked(connection, *, generation):
        if connection.generation > generation and len(refused) < 3:
            refused.append(generation)
            raise StoreUnavailable("The database is locked.")
        return await save(connection, generation=generation)

    monkeypatch.setattr(store, "save", locked)
    before = [(row.generation, row.sealed) for row in await store.page()]
    for number in range(1, 4):
        # The first call renews; then what was renewed is lent, whatever the row says, and upkeep tries to save it.
        assert (await pocket.ainvoke("read", {})).isdigit()
        assert len(refused) == number
        assert [(row.generation, row.sealed) for row in await store.page()] == before
        await pocket.system.rotations.replay()
    assert [row.generation for row in await store.page()] == [2]
    assert server.refreshes == 1
    assert server.family_alive(server.issued[-1])


async def test_a_flow_answered_for_a_handler_that_is_gone_does_not_block_for_ever(server, clock):
    other = Pocket(auth=PocketAuth(handlers=[Mine]))
    request = other.auth.make_request([A], "google-mine")
    told = await other.auth.prepare(request, "google-mine")
    assert told is not None
    await asyncio.to_thread(FutureStore.resolve_future, told.rpartition("=")[2], "code")
    plain = Pocket(tools=[read])
    clock.advance(601)
    assert (await plain.ainvoke("read", {})).startswith("User needs to authenticate")
    assert await plain.initialize_tool_auth()
    assert await plain.auth.list_session_state("default")


@pytest.mark.requirement("L-13")
async def test_disconnecting_while_a_code_is_exchanged_disconnects_what_it_brings(server):
    pocket = Pocket(tools=[read])
    (prompt,) = await pocket.initialize_tool_auth()
    server.pause()
    page = asyncio.create_task(asyncio.to_thread(get, server.approve(prompt.url)))
    await asyncio.to_thread(server.wait_held, 1)
    gone = asyncio.create_task(asyncio.to_thread(pocket.auth.delete_session, AuthProvider.GOOGLE))
    server.resume()
    await page
    assert await gone is True
    assert (await pocket.ainvoke_with_state("read", {}))[1]


async def test_a_link_of_accounts_in_memory_is_refused_after_a_restart_and_nothing_is_kept(server, clock):
    memory = Pocket(tools=[read], auth=PocketAuth(session_storage=InMemorySessionStorage()))
    (prompt,) = await memory.initialize_tool_auth()
    callback = server.approve(prompt.url)
    memory.teardown()
    timed(clock)
    pocket = Pocket(tools=[read])
    await pocket.initialize_tool_auth()
    assert (await asyncio.to_thread(get, callback)).status == 400
    assert server.exchanges == 0
    assert pocket.auth.get_auth_context(AuthProvider.GOOGLE) is None


async def test_head_on_the_callback_does_not_spend_the_code(server):
    pocket = Pocket(tools=[read])
    (prompt,) = await pocket.initialize_tool_auth()
    callback = server.approve(prompt.url)
    assert (await asyncio.to_thread(send, "HEAD", callback)).status == 405
    assert (await asyncio.to_thread(get, callback)).status == 200


async def test_a_missing_client_id_names_the_redirect_uri_to_register(ports: Ports):
    write_settings(ports)
    with pytest.raises(MissingSetting, match=f"https://localhost:{ports.public}/proxy/auth/google/oauth2/callback"):
        await Pocket(tools=[read]).initialize_tool_auth()


async def test_a_handler_has_to_give_a_link(server):
    class Empty(Mine):
        def prepare(self, auth_req, thread_id, profile, future_uid, *args, **kwargs):
            return None

    auth = PocketAuth(handlers=[Empty])
    with pytest.raises(InvalidAuthState, match="google-mine has to give a link in prepare, and gave NoneType"):
        await auth.prepare(auth.make_request([A], "google-mine"), "google-mine")


async def test_a_handler_of_another_provider_is_refused(server):
    tool = function_tool(auth_provider=AuthProvider.GOOGLE, auth_handler="github-token")(_plain)
    with pytest.raises(UnknownProvider, match="github-token connects github accounts, not google ones"):
        await Pocket(tools=[tool]).ainvoke("_plain", {})


def _plain() -> None:
    """Do nothing."""


async def test_a_thread_that_is_no_text_is_named_as_such(server):
    with pytest.raises(Unauthenticated, match="thread_id has to be a text"):
        await Pocket(tools=[read]).ainvoke("read", {}, thread_id=5)  # type: ignore[arg-type]


def test_slips_in_a_decorator_are_named():
    with pytest.raises(InvalidArguments, match=r"Write \['channels:read'\]"):
        function_tool(auth_provider=AuthProvider.SLACK, scopes="channels:read")(_plain)
    with pytest.raises(InvalidArguments, match=r"auth_provider=AuthProvider\.SLACK"):
        function_tool(AuthProvider.SLACK)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "line",
    [
        "internal_server_port = 0",
        'public_hostname = "a b"',
        'public_hostname = "x@y"',
        'callback_url_rewrite_prefix = "../x"',
        'public_base_url = "https://example.com/../path"',
        'public_base_url = "https://example.com/path"\ncallback_url_rewrite_prefix = "other"',
        'public_base_url = "ftp://example.com"',
        "[auth]\nslack = 5",
    ],
)
def test_settings_that_no_browser_could_come_back_to_are_refused(line, tmp_path):
    from pathlib import Path

    Path("valetkey.toml").write_text(line + "\n", "utf-8")
    with pytest.raises(InvalidSetting, match=line.partition(" ")[0].replace("[auth]\nslack", "auth.slack")):
        _ = config().public_base_url


def test_a_public_base_url_says_in_one_what_three_settings_say(monkeypatch):
    monkeypatch.setenv("VALETKEY_PUBLIC_BASE_URL", "https://tools.example.com")
    assert config().public_base_url == "https://tools.example.com"
    assert config().callbacks.prefixed_base_url == "https://tools.example.com/proxy"


def test_the_path_of_a_public_base_url_is_that_of_the_redirect_uris(monkeypatch):
    monkeypatch.setenv("VALETKEY_PUBLIC_BASE_URL", "https://tools.example.com/tools/")
    assert config().callbacks.prefixed_base_url == "https://tools.example.com/tools"


def test_a_key_that_is_nearly_right_is_warned_about(caplog):
    from pathlib import Path

    Path("valetkey.toml").write_text('[auth.slack]\nclient_secrt = "x"\n', "utf-8")
    _ = config().public_base_url
    assert "Did you mean client_secret?" in caplog.text


async def test_values_of_the_environment_are_kept_nowhere(ports: Ports, home, monkeypatch):
    write_settings(ports, '[auth.google]\nenvironment = { GOOGLE_TOKEN = "MY_GOOGLE" }\n')
    monkeypatch.setenv("MY_GOOGLE", "a-token-of-the-environment")
    pocket = Pocket(tools=[read])
    for _ in range(3):
        assert await pocket.ainvoke("read", {}) == str(len("a-token-of-the-environment"))
    assert not home.exists()
    assert pocket.system.road.lender._conversations == {}


@pytest.mark.parametrize("key", ["self", "client", "given", "named"])
def test_a_setting_may_be_called_like_anything(key):
    from pathlib import Path

    Path("valetkey.toml").write_text(f'[auth.mine]\nclient_id = "me"\n{key} = "x"\n', "utf-8")
    known = config().client("mine")
    assert known is not None
    assert (known.client_id, known.values[key]) == ("me", "x")


async def test_wrong_types_are_named(server):
    auth = PocketAuth()
    with pytest.raises(InvalidArguments, match="an AuthenticateRequest, not NoneType"):
        await auth.check(None, auth_provider=AuthProvider.GOOGLE)  # type: ignore[arg-type]
    with pytest.raises(UnknownTool):
        await Pocket(tools=[read]).ainvoke(["read"], {})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="A state is a text"):
        FutureStore.get_future(None)  # type: ignore[arg-type]
    with pytest.raises(InvalidSetting, match="takes OAuth2AuthConfig"):
        config().auth.google = 5
    with pytest.raises(InvalidArguments, match="deadline takes seconds"):
        function_tool(deadline=0)(_plain)
    with pytest.raises(InvalidArguments, match="tool_vars takes names"):
        function_tool(tool_vars=["A"])(_plain)  # type: ignore[call-overload]
