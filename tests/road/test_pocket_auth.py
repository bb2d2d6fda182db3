"""Seed 002's check, prepare and authenticate, row by row."""

import asyncio

import pytest

from tests.road.support import CALENDAR, client_section, get, timed, write_settings
from valetkey import (
    AuthExpired,
    AuthProvider,
    AuthRefused,
    AuthState,
    InMemorySessionStorage,
    InvalidArguments,
    InvalidAuthState,
    MissingSetting,
    PocketAuth,
    RefreshFailed,
    UnknownProvider,
)
from valetkey.testing.clock import ManualClock
from valetkey.testing.oauth_server import OAuthServer

PREFIX = "User needs to authenticate using the following URL: "
A, B = CALENDAR, "https://www.googleapis.com/auth/drive"


class Google:
    """PocketAuth, for one provider."""

    def __init__(self) -> None:
        self.auth = PocketAuth()

    def request(self, *scopes: str):
        return self.auth.make_request(auth_scopes=list(scopes), auth_provider=AuthProvider.GOOGLE)

    async def check(self, *scopes: str, **more):
        return await self.auth.check(self.request(*scopes), auth_provider=AuthProvider.GOOGLE, **more)

    async def prepare(self, *scopes: str, **more) -> str | None:
        return await self.auth.prepare(self.request(*scopes), auth_provider=AuthProvider.GOOGLE, **more)

    async def authenticate(self, *scopes: str, **more):
        return await self.auth.authenticate_async(self.request(*scopes), auth_provider=AuthProvider.GOOGLE, **more)

    async def connect(self, server: OAuthServer, *scopes: str, **more):
        told = await self.prepare(*scopes, **more)
        assert told is not None
        await asyncio.to_thread(get, server.approve(told.removeprefix(PREFIX)))
        return await self.authenticate(*scopes, **more)


async def test_the_six_states_follow_the_seed(server, clock):
    google = Google()
    assert await google.check(A) is AuthState.NO_SESSION
    told = await google.prepare(A)
    assert told is not None
    assert told.startswith(PREFIX)
    assert await google.check(A) is AuthState.PENDING_RESOLVE
    assert await google.prepare(A) == told, "a pending flow keeps its link, byte for byte"
    await asyncio.to_thread(get, server.approve(told.removeprefix(PREFIX)))
    assert await google.check(A) is AuthState.SKIP_AUTH
    assert await google.prepare(A) is None
    assert await google.check(B) is AuthState.DO_AUTH
    clock.advance(3600 - 301)
    assert await google.check(A) is AuthState.SKIP_AUTH
    clock.advance(2)
    assert await google.check(A) is AuthState.DO_REFRESH
    assert await google.prepare(A) is None
    assert await google.check(B) is AuthState.DO_AUTH, "expired and short of a scope: the scope decides"


async def test_a_short_lived_token_is_refreshed_in_its_second_half(clock, ports):
    with OAuthServer(clock=clock, access_lifetime=100) as server:
        write_settings(ports, client_section("google", server))
        timed(clock)
        google = Google()
        await google.connect(server, A)
        clock.advance(49)
        assert await google.check(A) is AuthState.SKIP_AUTH
        clock.advance(2)
        assert await google.check(A) is AuthState.DO_REFRESH


async def test_while_an_upgrade_waits_the_held_token_still_serves(server):
    google = Google()
    before = await google.connect(server, A)
    told = await google.prepare(B)
    assert told is not None
    assert await google.check(A) is AuthState.SKIP_AUTH
    assert (await google.authenticate(A)).access_token == before.access_token
    assert await google.check(B) is AuthState.PENDING_RESOLVE
    await asyncio.to_thread(get, server.approve(told.removeprefix(PREFIX)))
    assert await google.check(A, B) is AuthState.SKIP_AUTH, "the new credential can do what the old one could"


async def test_more_scopes_widen_a_pending_flow_and_keep_its_state(server):
    google = Google()
    first = await google.prepare(A)
    second = await google.prepare(A, B)
    assert first is not None
    assert second is not None
    assert first != second
    state = lambda told: told.partition("state=")[2].partition("&")[0]  # noqa: E731
    assert state(first) == state(second)
    page = await asyncio.to_thread(get, server.approve(second.removeprefix(PREFIX)))
    assert page.status == 200
    assert await google.check(A, B) is AuthState.SKIP_AUTH


async def test_refreshing_gives_a_new_token_and_keeps_the_family_alive(server, clock):
    google = Google()
    before = await google.connect(server, A)
    clock.advance(3500)
    after = await google.authenticate(A)
    assert after.access_token != before.access_token
    assert server.refreshes == 1
    assert server.family_alive(after.access_token)


async def test_a_revoked_account_says_sign_in_again_and_is_connected_anew(server, clock):
    google = Google()
    await google.connect(server, A)
    server.revoke_all()
    clock.advance(3601)
    with pytest.raises(RefreshFailed, match=r"Failed to refresh the token\. Please re-authenticate\."):
        await google.authenticate(A)
    assert await google.check(A) is AuthState.NO_SESSION
    again = await google.connect(server, A)
    assert server.alive(again.access_token)


async def test_authenticate_without_prepare_is_an_error_that_names_the_step(server):
    with pytest.raises(InvalidAuthState, match="prepare"):
        await Google().authenticate(A)


async def test_a_wait_ends_after_300_s_and_the_link_after_600(server, clock):
    google = Google()
    told = await google.prepare(A)
    assert told is not None
    waiting = asyncio.create_task(google.authenticate(A))
    await wind(clock, 301, waiting)
    with pytest.raises(AuthExpired):
        await waiting
    page = await asyncio.to_thread(get, server.approve(told.removeprefix(PREFIX)))
    assert page.status == 200, "a callback between the two still completes"
    assert await google.check(A) is AuthState.SKIP_AUTH


async def wind(clock: ManualClock, seconds: float, waiting: asyncio.Task) -> None:
    """Let time pass in steps of half a second, each when what waits has gone to sleep again."""
    ends = clock.monotonic() + seconds
    while not waiting.done() and clock.monotonic() < ends:
        asleep = asyncio.ensure_future(clock.sleepers(1))
        await asyncio.wait({waiting, asleep}, return_when=asyncio.FIRST_COMPLETED)
        asleep.cancel()
        clock.advance(0.5)


async def test_a_link_that_is_too_old_is_gone(server, clock):
    google = Google()
    told = await google.prepare(A)
    assert told is not None
    callback = server.approve(told.removeprefix(PREFIX))
    clock.advance(601)
    page = await asyncio.to_thread(get, callback)
    assert page.status in (400, 410)
    assert server.exchanges == 0
    assert await google.check(A) is AuthState.NO_SESSION
    assert await google.prepare(A) != told


async def test_profiles_are_accounts_apart(server):
    google = Google()
    work = await google.connect(server, A, profile="work")
    home = await google.connect(server, A, profile="home")
    assert work.access_token != home.access_token
    assert google.auth.get_auth_context(AuthProvider.GOOGLE, profile="work") == work
    listed = await google.auth.list_session_state("default")
    assert [(row["profile"], row["state"]) for row in listed] == [("home", "skip_auth"), ("work", "skip_auth")]


async def test_delete_session_forgets_here_and_revokes_at_the_provider(server):
    google = Google()
    held = await google.connect(server, A)
    assert google.auth.delete_session(AuthProvider.GOOGLE) is True
    assert google.auth.get_auth_context(AuthProvider.GOOGLE) is None
    assert await google.check(A) is AuthState.NO_SESSION
    assert not server.family_alive(held.access_token)
    assert google.auth.delete_session(AuthProvider.GOOGLE) is False


async def test_a_thread_id_is_a_name_and_never_a_pattern(server):
    google = Google()
    await google.connect(server, A, thread_id="ann")
    for pattern in (".*", "*", "%", "a__n", "an_", "ann__x"):
        assert await google.auth.list_session_state(pattern) == []
        assert google.auth.delete_session(AuthProvider.GOOGLE, thread_id=pattern) is False
    assert len(await google.auth.list_session_state("ann")) == 1


async def test_contexts_and_requests_do_not_print_their_secrets(server):
    held = await Google().connect(server, A)
    for text in (repr(held), str(held), f"{held}"):
        assert held.access_token not in text
    assert held.to_dict() == {"GOOGLE_TOKEN": held.access_token}
    assert held.to_profiled_dict("work") == {"WORK_GOOGLE_TOKEN": held.access_token}


async def test_handlers_are_found_by_name_and_by_provider(ports):
    write_settings(ports)
    auth = PocketAuth()
    assert auth.find_handler_instance("slack-oauth2").name == "slack-oauth2"
    assert auth.find_handler_instance(auth_provider=AuthProvider.SLACK).name == "slack-oauth2"
    assert auth.find_handler_instance("slack_token").name == "slack-token"
    with pytest.raises(UnknownProvider, match="slack-oauth2"):
        auth.find_handler_instance("slack-oauth")


async def test_a_missing_client_id_names_the_lines_to_write(ports):
    write_settings(ports)
    with pytest.raises(MissingSetting) as missing:
        await Google().prepare(A)
    assert "[auth.google]" in str(missing.value)
    assert "VALETKEY_AUTH__GOOGLE__CLIENT_ID" in str(missing.value)


async def test_a_refusal_that_nobody_waited_for_lets_the_next_one_begin(server):
    google = Google()
    told = await google.prepare(A)
    assert told is not None
    await asyncio.to_thread(get, server.deny(told.removeprefix(PREFIX)))
    assert await google.check(A) is AuthState.NO_SESSION
    assert await google.prepare(A) != told


async def test_a_waiting_authenticate_hears_the_refusal(server):
    google = Google()
    told = await google.prepare(A)
    assert told is not None
    waiting = asyncio.create_task(google.authenticate(A))
    await asyncio.to_thread(get, server.deny(told.removeprefix(PREFIX)))
    with pytest.raises(AuthRefused):
        await waiting


async def test_accounts_in_memory_leave_nothing_on_disk_and_are_apart(server):
    google = Google()
    google.auth = PocketAuth(session_storage=InMemorySessionStorage())
    held = await google.connect(server, A)
    assert held.access_token
    assert await google.check(A) is AuthState.SKIP_AUTH
    assert await Google().check(A) is AuthState.NO_SESSION
    with pytest.raises(InvalidArguments, match="InMemorySessionStorage"):
        PocketAuth(session_storage=object())  # type: ignore[arg-type]
