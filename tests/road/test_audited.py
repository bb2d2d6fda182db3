"""What the road tells the audit log: begun, finished, lent, forgotten; without a record nothing is lent (E-03)."""

import asyncio
from collections.abc import Iterator
from typing import TypeVar

import pytest

from tests.policy.kit import Told
from tests.road.support import Ports, client_section, connected, get, read, write_settings
from valetkey import AuthProvider, AuthRefused, Pocket, lending
from valetkey.audit import NoAudit, Switch
from valetkey.errors import Denied, StoreUnavailable
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.model.audit import Action, Entry
from valetkey.policy import decide
from valetkey.testing.oauth_server import OAuthServer
from valetkey.wiring import build
from valetkey.wiring.system import System

A = TypeVar("A")
DENY = '\n[[policy.rules]]\nname = "no-calendar"\neffect = "deny"\nproviders = ["google"]\nreason = "not here"\n'


@pytest.fixture
def server(ports: Ports) -> Iterator[OAuthServer]:
    with OAuthServer() as server:
        write_settings(ports, client_section("google", server))
        yield server


@pytest.fixture
def told(server) -> Told:
    return audited(build.default(), Told())


def audited(system: System, audit: A) -> A:
    """As wiring hands the audit log in."""
    for room in (system.connecting, system.answering, system.disconnector, system.road.lender, system.road.policy):
        setattr(room, "_audit", audit)  # noqa: B010 - each room has it under that name
    return audit


def shown(entries: list[Entry]) -> list[tuple[Action, str]]:
    return [(entry.action, entry.outcome) for entry in entries]


@pytest.mark.requirement("E-03", "E-01")
async def test_a_journey_is_in_the_audit_log_step_by_step_and_no_secret_is(server, told):
    with await connected(server) as pocket:
        await pocket.ainvoke(read.name, {})
        await asyncio.to_thread(pocket.auth.delete_session, AuthProvider.GOOGLE)
        steps = [
            (Action.CONNECT_BEGIN, "ok"),
            (Action.CONNECT_FINISH, "ok"),
            (Action.CALL, "ok"),
            (Action.LEND, "ok"),
            (Action.DISCONNECT, "ok"),
        ]
        assert shown(told.entries) == steps
        begun, finished, called, lent, gone = told.entries
        assert begun.what == finished.details["interaction"]
        assert finished.what == lent.what == gone.what != ""
        assert (called.what, called.rule, lent.rule) == ("read", "own-pocket", "own-pocket")
        assert lent.details == {
            "tool": "read", "provider": "google", "handler": "google-oauth2", "entrance": "pocket"
        }  # fmt: skip
        assert gone.details == {"provider": "google", "upstream": "revoked"}
        assert {(entry.issuer, entry.subject) for entry in told.entries} == {("host", "default")}
        assert not any(secret in repr(told.entries) for secret in server.issued)


@pytest.mark.requirement("E-03")
async def test_a_refusal_is_in_the_audit_log(server, told):
    with Pocket(tools=[read]) as pocket:
        (prompt,) = await pocket.initialize_tool_auth()
        await asyncio.to_thread(get, server.deny(prompt.url))
        with pytest.raises(AuthRefused):
            await pocket.wait_tool_auth()
    assert shown(told.entries) == [(Action.CONNECT_BEGIN, "ok"), (Action.CONNECT_FINISH, "refused")]
    assert told.entries[1].details["error"] == "auth_refused"


@pytest.mark.requirement("R-34", "E-04")
async def test_without_a_record_no_credential_is_unsealed(server, told, monkeypatch):
    with await connected(server) as pocket:
        lender = pocket.system.road.lender

        class Away(Told):
            async def note(self, entry: Entry) -> None:
                raise StoreUnavailable("The audit log cannot be written.")

        lender._audit = Away()
        opened: list[object] = []
        monkeypatch.setattr(lender._sealer, "open_credential", opened.append)
        with pytest.raises(StoreUnavailable):
            await pocket.ainvoke(read.name, {})
        assert opened == []


@pytest.mark.parametrize("audit", [None, NoAudit(), Switch(), Switch(NoAudit())])
async def test_where_there_is_no_audit_nothing_is_made_for_it(server, monkeypatch, audit):
    with await connected(server) as pocket:
        audited(pocket.system, audit)
        made: list[object] = []
        monkeypatch.setattr(decide, "Entry", lambda **_: made.append(1))
        monkeypatch.setattr(lending, "Entry", lambda **_: made.append(1))
        await pocket.ainvoke(read.name, {})
        assert made == []


async def test_a_log_that_is_put_in_place_later_gets_what_comes(server):
    with await connected(server) as pocket:
        switch = audited(pocket.system, Switch())
        await pocket.ainvoke(read.name, {})
        switch.log = told = Told()
        await pocket.ainvoke(read.name, {})
        assert shown(told.entries) == [(Action.CALL, "ok"), (Action.LEND, "ok")]


async def test_a_rule_of_the_settings_holds_on_the_road(server, ports):
    with await connected(server) as pocket:
        await pocket.ainvoke(read.name, {})
        assert await pocket.system.stores.connections.of_owner(owner_of("default"))
    build.use(None)
    write_settings(ports, client_section("google", server), DENY)
    with Pocket(tools=[read]) as pocket, pytest.raises(Denied, match="by the rule no-calendar: not here"):
        await pocket.ainvoke(read.name, {})
