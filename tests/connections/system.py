"""A system in memory, on a clock that is wound by hand, and accounts put straight into its store."""

from pathlib import Path
from typing import Any

from valetkey.connections.accounts import Accounts
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.model.caller import Caller, Owner
from valetkey.model.calls import Allowed, Call
from valetkey.model.connections import Connection, Credential, Grant, Subject
from valetkey.model.needs import Need, Needs
from valetkey.secret import Secret
from valetkey.settings.pocket import Config
from valetkey.testing.clock import ManualClock
from valetkey.wiring import build
from valetkey.wiring.system import System

ANN = owner_of("ann")
BOB = owner_of("bob")
UNASKED = {"auth.verify_accounts": False}  # no provider of the catalogue is there to be asked whose a token is


def made(clock: ManualClock, **settings: Any) -> System:
    """A system whose rows end with it."""
    config = Config.load(Path.cwd(), {}, **{"session.session_type": "in_memory", **UNASKED, **settings})
    return build.build(config, clock=clock, folder=Path.cwd() / "home", environ={})


def accounts(system: System) -> Accounts:
    return Accounts(
        store=system.stores.connections,
        keeper=system.keeper,
        finder=system.handling,
        clock=system.clock,
        entropy=system.entropy,
    )


async def held(
    system: System,
    profile: str = "default",
    *,
    owner: Owner = ANN,
    handler: str = "google-oauth2",
    scopes: tuple[str, ...] = ("read",),
    account: str | None = None,
    ends_in: float | None = 3600.0,
    refresh: str | None = "a refresh token",
) -> Connection:
    """An account as if a person had connected it."""
    credential = Credential(
        access_token=Secret(f"the token of {owner.subject} {profile}"),
        refresh_token=None if refresh is None else Secret(refresh),
        subject=Subject(issuer="https://idp.test", subject=owner.subject, audience=frozenset({"id"})),
    )
    grant = Grant(
        credential=credential,
        scopes=frozenset(scopes),
        expires_at=None if ends_in is None else system.clock.now() + ends_in,
        account=account,
    )
    found = system.handling.find(handler, None)
    return await system.keeper.keep(grant, found, owner, profile=profile, asked=frozenset(scopes))


def allowed(*needs: Need, profile: str | None = None, owner: Owner = ANN, alternatives: Any = None) -> Allowed:
    """A call with these needs, as policy allows it."""
    call = Call(tool="t", needs=Needs(alternatives or (needs,)), profile=profile)
    return Allowed(caller=Caller(owner=owner, how="test"), call=call, rule="test")


def token(system: System, connection: Connection) -> str:
    return system.sealer.open_credential(connection).access_token.reveal()
