"""What a chat session was given: lent to that session alone, placed as its kind says, forgotten with it."""

import asyncio
import base64
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.connections.sessions import (
    ANY,
    API_KEY,
    BASIC,
    BEARER,
    CUSTOM,
    GIVEN,
    OTHER,
    OWNER,
    ROOM,
    STRANGER,
    TokenEndpoint,
    allowed,
    client,
    made,
    need,
    put,
    token,
    until,
)
from tests.connections.system import held
from valetkey.audit import Switch
from valetkey.connections.session import SESSION, SessionCredential, SessionKind, handler_name
from valetkey.connections.session_place import PAST
from valetkey.errors import AuthRequired, Unauthenticated, UnknownProvider
from valetkey.model.audit import Action, Entry
from valetkey.model.calls import Loan
from valetkey.model.connections import Credential, key_id_of
from valetkey.model.needs import Need
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock
from valetkey.vault.keyring import PROCESS
from valetkey.wiring.system import System


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def endpoint() -> TokenEndpoint:
    return TokenEndpoint()


@pytest.fixture
def system(clock: ManualClock, endpoint: TokenEndpoint) -> Iterator[System]:
    system = made(clock, endpoint)
    yield system
    system.close()


def plain(loan: Loan) -> tuple[dict[str, str], str | None]:
    return {name: value.reveal() for name, value in loan.headers.items()}, loan.token.reveal() if loan.token else None


PLACED = {
    SessionKind.BEARER_TOKEN: ({"Authorization": "Bearer tok-11112222"}, "tok-11112222"),
    SessionKind.BASIC_AUTH: (
        {"Authorization": "Basic " + base64.b64encode("zoë:pass:wörd".encode()).decode()},
        None,
    ),
    SessionKind.API_KEY: ({"X-Key": "key-33334444"}, "key-33334444"),
    SessionKind.CUSTOM: ({"X-One": "one-55556666", "Authorization": "Token two-7777"}, None),
}


@pytest.mark.requirement(
    "seed003.bearer", "seed003.basic", "seed003.api-key", "seed003.custom", "design.session-credentials"
)
@pytest.mark.parametrize("kind", PLACED)
async def test_each_kind_is_lent_on_the_road_and_placed_where_it_goes(system: System, kind: SessionKind) -> None:
    put(system, GIVEN[kind])
    connected = await system.connector.connect(allowed((need(kind),)))
    lent = await system.road.lender.lend(connected)
    (connection,) = connected.connections
    assert (connection.provider, connection.handler, connection.kept) == (SESSION, handler_name(kind), False)
    assert [(loan.handler, *plain(loan)) for loan in lent.loans] == [(handler_name(kind), *PLACED[kind])]
    assert not lent.variables


@pytest.mark.requirement("seed003.oauth2")
async def test_client_credentials_are_lent_as_the_token_that_they_bring(
    system: System, endpoint: TokenEndpoint
) -> None:
    put(system, client())
    lent = await system.road.lender.lend(await system.connector.connect(allowed((ANY,))))
    assert [plain(loan) for loan in lent.loans] == [({"Authorization": "Bearer tok-1-secret"}, "tok-1-secret")]
    assert {secret.reveal() for secret in lent.secrets} == {"tok-1-secret", "cs-99998888"}


@pytest.mark.requirement("seed003.memory-only", "seed003.token-caching")
async def test_nothing_of_it_is_in_the_store_or_in_what_prints(system: System) -> None:
    for given in (*GIVEN.values(), client()):
        put(system, given)
        connection = await system.sessions.meet(ROOM, OWNER, ANY)
        assert not any(text in repr((given, connection)) for text in ("11112222", "33334444", "55556666", "99998888"))
        assert connection is not None
        assert await system.stores.connections.by_id(connection.id) is None
        assert key_id_of(connection.sealed) == PROCESS


@pytest.mark.requirement("seed003.isolation", "X-23")
@pytest.mark.parametrize("kind", SessionKind)
@pytest.mark.parametrize("asked", [*SessionKind, None])
@pytest.mark.parametrize("room", [ROOM, OTHER, ""])
@pytest.mark.parametrize("owner", [OWNER, STRANGER], ids=["owner", "stranger"])
async def test_only_its_own_session_and_owner_get_it_and_only_as_what_it_is(
    system: System, kind: SessionKind, asked: SessionKind | None, room: str, owner: object
) -> None:
    put(system, GIVEN.get(kind) or client())
    wanted = ANY if asked is None else need(asked)
    call = allowed((wanted,), (), room=room, owner=owner)  # type: ignore[arg-type]
    connected = await system.connector.connect(call)
    assert bool(connected.connections) is (room == ROOM and owner is OWNER and asked in (kind, None))


@pytest.mark.requirement("seed003.sessions")
async def test_another_session_beside_it_has_its_own(system: System) -> None:
    put(system, BEARER)
    system.sessions.put(OTHER, STRANGER, API_KEY, ttl=60, token_hosts=[])
    lent = await system.road.lender.lend(await system.connector.connect(allowed((ANY,), room=OTHER, owner=STRANGER)))
    assert plain(lent.loans[0])[0] == {"X-Key": "key-33334444"}
    assert not any(secret.matches("tok-11112222") for secret in lent.secrets)
    system.sessions.forget(OTHER)
    assert system.sessions.kind(ROOM) is SessionKind.BEARER_TOKEN


@pytest.mark.requirement("design.session-credentials")
async def test_what_was_replaced_is_not_lent_any_more_and_is_starred_until_all_is_forgotten(system: System) -> None:
    put(system, BEARER)
    put(system, BASIC)
    put(system, CUSTOM)
    assert await system.sessions.meet(ROOM, OWNER, need(SessionKind.BEARER_TOKEN)) is None
    known = {secret.reveal() for secret in system.sessions.secrets(ROOM)}
    assert {"tok-11112222", "pass:wörd", "one-55556666", "Token two-7777"} <= known
    system.sessions.forget(ROOM)
    assert (system.sessions.secrets(ROOM), system.sessions.kind(ROOM)) == ((), None)
    assert await system.sessions.meet(ROOM, OWNER, ANY) is None


async def test_rows_that_are_open_already_are_not_opened_again_and_all_others_are(system: System) -> None:
    put(system, BASIC)
    put(system, BEARER)
    met = await system.sessions.meet(ROOM, OWNER, ANY)
    assert met is not None
    told = [(met, Credential(access_token=Secret("as-opened-before")))]
    known = {secret.reveal() for secret in system.sessions.secrets(ROOM, opened=told)}
    assert {"as-opened-before", "pass:wörd"} <= known
    assert "tok-11112222" not in known
    known = {secret.reveal() for secret in system.sessions.secrets(ROOM, opened=[(replace(met), told[0][1])])}
    assert {"tok-11112222", "pass:wörd"} <= known


async def test_who_authenticates_again_and_again_does_not_make_the_search_endless(system: System) -> None:
    many = type(CUSTOM)(kind=SessionKind.CUSTOM, headers={f"X-{number}": Secret(f"v{number}") for number in range(16)})
    for _ in range(20):
        put(system, many)
    put(system, BEARER)
    assert len(system.sessions.secrets(ROOM)) == 16 + 1, "what was replaced last is kept whole"
    for number in range(20):
        put(system, SessionCredential(kind=SessionKind.BEARER_TOKEN, fields={"token": Secret(f"token-{number}")}))
    known = {secret.reveal() for secret in system.sessions.secrets(ROOM)}
    assert known == {f"token-{number}" for number in range(19 - PAST, 20)}
    assert [secret.reveal() for secret in system.sessions.secrets(ROOM, past=False)] == ["token-19"]


@pytest.mark.requirement("design.session-credentials")
async def test_what_is_still_to_be_verified_is_starred_and_lent_to_nobody(system: System) -> None:
    put(system, BEARER, ready=False)
    assert system.sessions.kind(ROOM) is None
    assert await system.sessions.meet(ROOM, OWNER, ANY) is None
    assert system.sessions.secrets(ROOM)
    assert await system.sessions.meet(ROOM, OWNER, ANY, to_verify=True) is not None
    system.sessions.ready(OTHER)
    assert system.sessions.kind(ROOM) is None
    system.sessions.ready(ROOM)
    assert await system.sessions.meet(ROOM, OWNER, ANY) is not None
    put(system, API_KEY, ready=False)
    assert await system.sessions.meet(ROOM, OWNER, ANY) is None, "nor what it takes the place of"


async def test_a_user_name_is_no_secret_and_the_password_in_a_header_of_basic_is_one(system: System) -> None:
    put(system, BASIC)
    assert not any(secret.matches("zoë") for secret in system.sessions.secrets(ROOM))
    coded = base64.b64encode(b"ann:hunter22").decode()
    header = {"Authorization": Secret(f"Basic {coded}")}
    put(system, type(CUSTOM)(kind=SessionKind.CUSTOM, headers=header))
    assert any(secret.matches("hunter22") for secret in system.sessions.secrets(ROOM))


@pytest.mark.requirement("design.lent-remembered")
async def test_fetched_tokens_are_starred_after_they_were_replaced(system: System, clock: ManualClock) -> None:
    put(system, client())
    await token(system)
    clock.advance(3300)
    await token(system)
    put(system, BEARER)
    known = {secret.reveal() for secret in system.sessions.secrets(ROOM)}
    assert known == {"tok-1-secret", "tok-2-secret", "cs-99998888", "tok-11112222"}


@pytest.mark.requirement("design.session-credentials")
@pytest.mark.parametrize("deaf", [False, True], ids=["cancelled", "answered all the same"])
@pytest.mark.parametrize("replaced", [False, True], ids=["forgotten", "replaced"])
async def test_a_flight_that_outlives_its_session_brings_nothing(
    system: System, endpoint: TokenEndpoint, *, deaf: bool, replaced: bool
) -> None:
    endpoint.hold()
    endpoint.deaf = deaf
    put(system, client())
    calls = [asyncio.create_task(token(system)) for _ in range(3)]
    await until(lambda: len(endpoint.requests) == 1)
    if replaced:
        put(system, BEARER)
    else:
        system.sessions.forget(ROOM)
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(outcome, Unauthenticated)
    assert endpoint.cancelled == 1
    left = {secret.reveal() for secret in system.sessions.secrets(ROOM)}
    assert left == ({"tok-11112222", "cs-99998888"} if replaced else set())


async def test_a_caller_who_gives_up_does_not_end_the_flight_of_the_others(
    system: System, endpoint: TokenEndpoint
) -> None:
    gate = endpoint.hold()
    put(system, client())
    first, second = (asyncio.create_task(token(system)) for _ in range(2))
    await until(lambda: len(endpoint.requests) == 1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    gate.set_result(None)
    assert await second == "tok-1-secret"
    assert len(endpoint.requests) == 1


async def test_the_empty_alternative_is_taken_where_the_session_has_nothing(system: System) -> None:
    connected = await system.connector.connect(allowed((ANY,), ()))
    assert connected.connections == ()


@pytest.mark.parametrize("wanted", [ANY, Need(provider="", handler="session-api-key")])
async def test_nobody_is_sent_to_a_page_for_the_session_s_credential(system: System, wanted: Need) -> None:
    with pytest.raises(Unauthenticated, match="Authenticate in the chat"):
        await system.connector.connect(allowed((wanted,)))


@pytest.mark.requirement("design.own-beside")
async def test_a_person_is_asked_for_the_account_that_a_person_can_connect(system: System) -> None:
    pasted = Need(provider="kraken")
    for alternatives in (((ANY,), (pasted,)), ((pasted,), (ANY,)), ((ANY, pasted),)):
        put(system, BEARER) if len(alternatives) == 1 else system.sessions.forget(ROOM)
        with pytest.raises(AuthRequired) as asked:
            await system.connector.connect(allowed(*alternatives))
        assert asked.value.provider == "kraken"


@pytest.mark.requirement("design.own-beside")
async def test_both_of_a_pair_are_lent_in_their_order(system: System) -> None:
    await held(system, owner=OWNER, scopes=())
    put(system, BEARER)
    google = Need(provider="google")
    lent = await system.road.lender.lend(await system.connector.connect(allowed((google, ANY))))
    assert [loan.handler for loan in lent.loans] == ["google-oauth2", "session-bearer_token"]
    assert plain(lent.loans[0])[0] == {"Authorization": "Bearer the token of ann default"}


class Log:
    """An audit log that keeps its entries."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    async def note(self, entry: Entry) -> None:
        self.entries.append(entry)

    def tell(self, entry: Entry) -> None:
        self.entries.append(entry)


@pytest.mark.requirement("D.audit")
async def test_a_loan_is_in_the_audit_log_without_its_values(system: System) -> None:
    log = Log()
    assert isinstance(system.audit, Switch)
    system.audit.log = log
    put(system, BASIC)
    await system.road.lender.lend(await system.connector.connect(allowed((ANY,))))
    (entry,) = log.entries
    assert (entry.action, entry.subject) == (Action.LEND, "ann")
    assert entry.details == {"tool": "t", "provider": SESSION, "handler": "session-basic_auth", "entrance": "chat"}
    assert "wörd" not in repr(entry)


@pytest.mark.requirement("design.session-credentials")
async def test_what_is_forgotten_between_looking_and_lending_is_not_lent(system: System) -> None:
    put(system, BEARER)
    connected = await system.connector.connect(allowed((ANY,)))
    put(system, BEARER)
    with pytest.raises(Unauthenticated, match="forgotten"):
        await system.road.lender.lend(connected)
    connected = await system.connector.connect(allowed((ANY,)))
    system.sessions.forget(ROOM)
    with pytest.raises(Unauthenticated, match="forgotten"):
        await system.road.lender.lend(connected)


@pytest.mark.requirement("design.lent-remembered")
async def test_a_conversation_knows_all_that_was_lent_to_it_until_it_ends(system: System) -> None:
    await held(system, owner=OWNER, scopes=())
    put(system, BEARER)
    connected = await system.connector.connect(allowed((Need(provider="google"),)))
    await system.road.lender.lend(connected)
    known = {secret.reveal() for secret in await system.road.lender.secrets_of(ROOM)}
    assert known == {"tok-11112222", "the token of ann default", "a refresh token"}
    assert await system.road.lender.secrets_of(OTHER) == ()
    system.road.lender.forget(ROOM)
    assert {secret.reveal() for secret in await system.road.lender.secrets_of(ROOM)} == {"tok-11112222"}


@pytest.mark.requirement("design.lent-remembered")
async def test_a_public_tool_of_the_conversation_is_starred_too(system: System) -> None:
    put(system, BEARER)
    lent = await system.road.lender.lend(await system.connector.connect(allowed(())))
    assert lent.loans == ()
    assert [secret.reveal() for secret in lent.secrets] == ["tok-11112222"]


def test_an_unknown_kind_of_the_session_is_named(system: System) -> None:
    with pytest.raises(UnknownProvider, match="session-bearer_token"):
        system.handling.find("session-cookie", SESSION)
    assert system.handling.find(None, SESSION).name == "session-bearer_token"
    assert system.handling.find("session-api_key", None).name == "session-api_key"
    assert not system.handling.own


@pytest.mark.parametrize(
    ("name", "credential", "expected"),
    [
        ("github-token", Credential(access_token=Secret("pasted")), {"Authorization": "Bearer pasted"}),
        ("google-oauth2", Credential(access_token=Secret("at")), {"Authorization": "Bearer at"}),
        (
            "kraken-keypair",
            Credential(access_token=Secret(""), fields={"api_key": Secret("k"), "private_key": Secret("p")}),
            {},
        ),
        (
            "basic",
            Credential(access_token=Secret(""), fields={"basic": Secret("dTpw")}),
            {"Authorization": "Basic dTpw"},
        ),
    ],
)
def test_other_handlers_lend_to_a_request_what_a_header_is_defined_for(
    system: System, name: str, credential: Credential, expected: dict[str, str]
) -> None:
    if name == "basic":
        name = next(
            entry.name
            for each in system.registry.names()
            for entry in system.registry.get(each).handlers
            if entry.kind.value == "basic"
        )
    if name.startswith("kraken"):
        name = system.registry.get("kraken").default_handler.name
    assert plain(system.handling.find(name, None).loan(credential))[0] == expected
