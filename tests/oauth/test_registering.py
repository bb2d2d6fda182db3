"""Dynamic registration: what is asked, what is taken, one client for all, and what becomes of an old one."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from tests.connections.kit import KEY
from tests.oauth.fakes import Dice, Wire, answer, provider
from valetkey.adapters.memory_registrations import MemoryClients
from valetkey.errors import ExchangeFailed, InvalidSetting, ProviderUnavailable
from valetkey.oauth.clients import ClientSettings
from valetkey.oauth.registering import AHEAD, Registering
from valetkey.ports.world import Request, Trust
from valetkey.providers.base import ClientAuth, Endpoint
from valetkey.testing.clock import ManualClock
from valetkey.vault.keyring import Keyring
from valetkey.vault.seal import Sealer

REGISTRAR = "https://as.test/register"
BACK = "https://us.test/auth/example/oauth2/callback"
SECRET, MANAGES = "cs-canary-77aa", "rat-canary-31f0"
GIVEN = {
    "client_id": "c-1",
    "client_secret": SECRET,
    "client_secret_expires_at": 0,
    "redirect_uris": [BACK],
    "grant_types": ["authorization_code", "refresh_token"],
    "response_types": ["code"],
    "token_endpoint_auth_method": "client_secret_basic",
    "registration_client_uri": f"{REGISTRAR}/c-1",
    "registration_access_token": MANAGES,
}


def given(**changed: Any) -> Any:
    return answer({name: value for name, value in (GIVEN | changed).items() if value is not None}, 201)


class Place:
    """One process; another one shares its store."""

    def __init__(self, *answers: Any, store: MemoryClients | None = None, method: ClientAuth = ClientAuth.BASIC):
        self.clock = ManualClock()
        self.wire = Wire(*answers)
        self.store = store or MemoryClients()
        self.sealer = Sealer(Keyring(KEY, ticks=self.clock.monotonic), Dice())
        self.registering = Registering(store=self.store, sealer=self.sealer, fetcher=self.wire, clock=self.clock)
        self.provider = provider(registration=Endpoint(REGISTRAR), client_auth=method)
        oauth2 = self.provider.handlers[0].oauth2
        assert oauth2 is not None
        self.oauth2 = oauth2

    async def client(self, redirect_uri: str = BACK, *, look: bool = False) -> Any:
        return await self.registering.client(
            self.provider, self.oauth2, ClientSettings(), redirect_uri=redirect_uri, look=look
        )

    def asked(self) -> list[tuple[str, str]]:
        return [(request.method, request.url) for request in self.wire.requests]


async def test_a_client_is_registered_once_and_kept_sealed():
    place = Place(given())
    known = await place.client()
    assert (known.settings.client_id, known.settings.client_secret.reveal()) == ("c-1", SECRET)
    assert known.method is ClientAuth.BASIC
    (request,) = place.wire.requests
    assert (request.method, request.url, request.trust) == ("POST", REGISTRAR, Trust.CATALOGUE)
    assert json.loads(request.body) == {
        "client_name": "Valetkey",
        "redirect_uris": [BACK],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "client_secret_basic",
        "application_type": "web",
    }
    assert (await Place(store=place.store).client()).settings == known.settings
    (row,) = await place.store.page()
    for secret in (SECRET, MANAGES):
        assert secret not in repr(row)
        assert secret.encode() not in bytes(row.sealed)


async def test_a_client_of_loopback_is_a_native_one_and_each_redirect_uri_has_its_own():
    other = "http://127.0.0.1:8000/auth/example/oauth2/callback"
    place = Place(given(), given(client_id="c-2", redirect_uris=[other]))
    await place.client()
    assert (await place.client(other)).settings.client_id == "c-2"
    assert json.loads(place.wire.requests[1].body)["application_type"] == "native"
    found = await place.registering.of_id(place.provider, place.oauth2, ClientSettings(), client_id="c-1")
    assert found is not None
    assert found.settings.client_id == "c-1"
    assert await place.registering.of_id(place.provider, place.oauth2, ClientSettings(), client_id="c-3") is None


@pytest.mark.requirement("O-41")
async def test_o41_another_client_than_asked_for_is_refused_ended_and_not_kept():
    wrong: list[dict[str, Any]] = [
        {"redirect_uris": ["https://evil.test/cb"]},
        {"redirect_uris": [BACK, "https://evil.test/cb"]},
        {"redirect_uris": []},
        {"redirect_uris": BACK},
        {"token_endpoint_auth_method": "none", "client_secret": None},
        {"token_endpoint_auth_method": "none"},
        {"token_endpoint_auth_method": "client_secret_jwt"},
        {"token_endpoint_auth_method": 7},
        {"client_secret": None},
        {"grant_types": ["authorization_code", "implicit"]},
        {"grant_types": ["client_credentials"]},
        {"grant_types": "authorization_code"},
        {"response_types": ["code", "token"]},
        {"client_secret_expires_at": 1},
        {"client_secret_expires_at": "never"},
        {"client_secret_expires_at": True},
        {"client_secret_expires_at": 10**400},
    ]
    for changed in wrong:
        place = Place(given(**changed), answer({}, 204))
        with pytest.raises(InvalidSetting, match=r"Nothing was kept.*auth\.example\.client_id") as caught:
            await place.client()
        assert SECRET not in str(caught.value)
        assert list(await place.store.page()) == [], changed
        assert place.asked()[1:] == [("DELETE", f"{REGISTRAR}/c-1")], changed
        assert place.wire.requests[1].headers["authorization"] == f"Bearer {MANAGES}"


async def test_what_is_as_good_is_taken():
    as_good: list[dict[str, Any]] = [
        {"token_endpoint_auth_method": "client_secret_post"},
        {"token_endpoint_auth_method": None},
        {"grant_types": ["authorization_code"]},
        {"redirect_uris": None, "grant_types": None, "response_types": None},
    ]
    for changed in as_good:
        assert (await Place(given(**changed)).client()).settings.client_secret.reveal() == SECRET
    public = Place(given(token_endpoint_auth_method="none", client_secret=None), method=ClientAuth.NONE)
    assert (await public.client()).settings.secrets == ()


async def test_a_server_that_refuses_or_is_away_is_told_apart_and_nothing_is_kept():
    refused = answer({"error": "invalid_redirect_uri", "error_description": "no loopback"}, 400)
    for said, kind in (
        (refused, InvalidSetting),
        (answer({}, 503), ProviderUnavailable),
        (answer({}, 302, location="https://evil.test"), ProviderUnavailable),
        (answer({"client_id": 7}, 201), ProviderUnavailable),
        (answer({"client_id": "a\nb"}, 201), ProviderUnavailable),
        (ExchangeFailed("no answer", sent=True), ExchangeFailed),
    ):
        place = Place(said)
        with pytest.raises(kind):
            await place.client()
        assert list(await place.store.page()) == []


async def test_two_processes_that_register_at_once_end_with_one_client():
    """The loser uses the winner's, and ends its own."""
    first = Place(given())
    second = Place(
        given(client_id="c-2", registration_client_uri=f"{REGISTRAR}/c-2"), answer({}, 204), store=first.store
    )
    let = asyncio.Event()

    def meanwhile(wire: Wire):
        fetch = wire.fetch

        async def held(request: Request):
            said = await fetch(request)
            if request.method == "POST":
                await let.wait()
            return said

        return held

    second.wire.fetch = meanwhile(second.wire)  # type: ignore[method-assign]
    late = asyncio.create_task(second.client())
    await asyncio.sleep(0)
    won = await first.client()
    let.set()
    assert (await late).settings == won.settings
    assert second.asked() == [("POST", REGISTRAR), ("DELETE", f"{REGISTRAR}/c-2")]


async def test_many_at_once_in_one_process_register_once():
    place = Place(*(given(client_id=f"c-{number}") for number in range(1, 11)))
    fetch = place.wire.fetch

    async def slow(request: Request) -> Any:
        await asyncio.sleep(0)  # the others come meanwhile
        return await fetch(request)

    place.wire.fetch = slow  # type: ignore[method-assign]
    known = await asyncio.gather(*(place.client() for _ in range(10)))
    assert len(place.wire.requests) == 1
    assert {each.settings.client_id for each in known} == {"c-1"}


async def test_a_secret_that_ends_is_replaced_in_time_and_kept_until_then():
    ends = ManualClock().now() + 86_400
    later = given(client_id="c-2", client_secret_expires_at=ends + 86_400)
    place = Place(given(client_secret_expires_at=ends), later, given(client_id="c-3"))
    await place.client()
    place.clock.advance(86_400 - AHEAD - 1)
    assert (await place.client()).settings.client_id == "c-1"
    place.clock.advance(2)
    assert (await place.client()).settings.client_id == "c-2"
    old = await place.registering.of_id(place.provider, place.oauth2, ClientSettings(), client_id="c-1")
    assert old is not None
    assert old.settings.client_secret is not None
    assert old.settings.client_secret.matches(SECRET)
    place.clock.advance(86_400)
    assert (await place.client()).settings.client_id == "c-3"
    assert {row.client_id for row in await place.store.page()} == {"c-2", "c-3"}


async def test_a_new_flow_looks_whether_it_is_still_known_and_registers_anew_once():
    place = Place(given(), answer({}, 401), given(client_id="c-2"), answer({}, 200))
    await place.client()
    assert (await place.client()).settings.client_id == "c-1"  # no look
    assert (await place.client(look=True)).settings.client_id == "c-2"
    assert (await place.client(look=True)).settings.client_id == "c-2"
    assert await place.registering.of_id(place.provider, place.oauth2, ClientSettings(), client_id="c-1") is not None
    for silent in (answer({}, 404), answer({}, 503), answer({}, 403), ExchangeFailed("no answer", sent=True)):
        place = Place(given(), silent)
        await place.client()
        assert (await place.client(look=True)).settings.client_id == "c-1"


async def test_what_manages_a_client_is_asked_at_the_registrars_own_origin_only():
    for url in ("https://evil.test/c-1", "http://as.test/c-1", "javascript:x", 7, None):
        place = Place(given(registration_client_uri=url))
        await place.client()
        assert (await place.client(look=True)).settings.client_id == "c-1"
        assert len(place.wire.requests) == 1, url


async def test_a_refusal_forgets_a_client_that_the_server_has_forgotten_and_no_other():
    place = Place(given(), answer({}, 200), answer({}, 401))
    await place.client()
    assert not await place.registering.forgotten(place.provider, place.oauth2, client_id="c-1")
    assert await place.registering.forgotten(place.provider, place.oauth2, client_id="c-1")
    assert list(await place.store.page()) == []
    unmanaged = Place(given(registration_client_uri=None))
    await unmanaged.client()
    assert await unmanaged.registering.forgotten(unmanaged.provider, unmanaged.oauth2, client_id="c-1")
    assert list(await unmanaged.store.page()) == []


async def test_a_registrar_that_hangs_keeps_nobody_of_another_one_waiting():
    place = Place(given(), given(client_id="c-2", redirect_uris=["https://us.test/other"]))
    await place.client()
    fetch, hung = place.wire.fetch, asyncio.Event()

    async def slow(request: Request) -> Any:
        if request.url == REGISTRAR:
            return await fetch(request)
        hung.set()
        return await asyncio.Event().wait()

    place.wire.fetch = slow  # type: ignore[method-assign]
    other = replace(place.oauth2, registration=Endpoint("https://slow.test/register"))
    waits = asyncio.create_task(
        place.registering.client(place.provider, other, ClientSettings(), redirect_uri="https://us.test/slow")
    )
    await hung.wait()
    try:
        async with asyncio.timeout(1):
            assert (await place.client()).settings.client_id == "c-1"
            assert (await place.client("https://us.test/other")).settings.client_id == "c-2"
    finally:
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)


async def test_a_client_is_found_at_another_endpoint_of_its_origin_and_at_no_other_one():
    place = Place(given())
    await place.client()

    async def known(**changed: Any) -> bool:
        oauth2 = replace(place.oauth2, **changed)
        found = await place.registering.of_id(place.provider, oauth2, ClientSettings(), client_id="c-1")
        return found is not None

    assert await known(registration=Endpoint("https://as.test/v2/register"))
    assert await known(registration=None)
    assert not await known(registration=None, token=Endpoint("https://evil.test/token"))
    (row,) = await place.store.page()
    await place.store.insert(replace(row, id="another", registrar="https://as.test/tenant/register"))
    assert await known()
    assert not await known(registration=None)  # whose it is cannot be told
