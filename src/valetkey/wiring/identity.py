"""Identity: who is calling, what we issue, who may; the rooms of a server, over one system."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from valetkey.audit import AuditLog, NoAudit, counted, suspect
from valetkey.identity.accounts import Accounts
from valetkey.identity.chain import Chain, Refused, Verifier
from valetkey.identity.consented import consent_kept
from valetkey.identity.login import LoginService
from valetkey.identity.logins.local import LocalLogin
from valetkey.identity.plugin import AuthPlugin
from valetkey.identity.tokens import Tokens
from valetkey.identity.verifiers.anonymous import Anonymous
from valetkey.identity.verifiers.custom import around
from valetkey.identity.verifiers.foreign import Foreign
from valetkey.identity.verifiers.introspection import Introspection
from valetkey.identity.verifiers.ours import Ours, mark_of
from valetkey.identity.verifiers.reconnection import Reconnection
from valetkey.identity.verifiers.tickets import Tickets
from valetkey.identity.verifiers.vouched import VOUCHED
from valetkey.identity.workspaces import Workspaces
from valetkey.limits import BAD_KEYS_FROM_ADDRESS, Limits, Watch
from valetkey.model.accounts import PREFIX
from valetkey.model.audit import Action, Entry, Record
from valetkey.model.calls import Presented
from valetkey.oauth.keys import IssuerKeys
from valetkey.policy.approvals import Approvals
from valetkey.policy.blocks import Blocks
from valetkey.policy.consents import Consents
from valetkey.settings.hypha import AUDIENCE, ISSUER
from valetkey.settings.sections import Identity as IdentitySettings
from valetkey.stops import Stops
from valetkey.vault.signing import Signer

if TYPE_CHECKING:
    from valetkey.audit import Audit
    from valetkey.wiring.system import System


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The rooms of one server. Everything runs on the home loop of its system.

    Attributes:
        chain: asks ours, configured issuers, then custom parsers (decision 22).
        plain: the same without the parsers: whom ``parse_token`` asks.
        login: the login service of seed 004.
        plugin: what ``register_auth_service`` put in place.
    """

    system: System
    settings: IdentitySettings
    audit: Audit
    limits: Limits
    watch: Watch
    stops: Stops
    signer: Signer
    chain: Chain
    plain: Chain
    tokens: Tokens
    accounts: Accounts
    local: LocalLogin
    workspaces: Workspaces
    login: LoginService
    plugin: AuthPlugin
    approvals: Approvals
    consents: Consents
    blocks: Blocks
    issuer_keys: IssuerKeys

    async def close(self) -> None:
        """End what was begun here, and save what the audit log was told; on the home loop."""
        self.plugin.close()
        await self.issuer_keys.close()
        if isinstance(self.audit, AuditLog):
            await self.audit.drain()


def open_identity(
    system: System, settings: IdentitySettings, *, base_url: str, pages: Callable[[], str] | None = None
) -> Identity:
    """The rooms of a server. From now on every call of the system is watched: blocks, approvals, the audit log.

    Args:
        system: over which.
        settings: who is let in, and what they are given.
        base_url: the public address with the prefix of our paths, without a slash at the end.
        pages: the same as it is when a link is made, where that is known only later.

    Raises:
        InvalidSetting: a setting cannot be used; the text names it.
    """
    clock, entropy, stores = system.clock, system.entropy, system.stores
    keyring = system.sealer.keyring
    audit = _audit(system, settings)
    counters = system.bus.counters if system.bus.shared else stores.counters
    limits = Limits(counters)
    watch = Watch(limits, tell=suspect(audit))
    stops = Stops(store=stores.stops, clock=clock, wakeups=system.bus.wakeups, home=system.home)
    signer = _signer(system, settings, base_url)
    tokens = Tokens(
        store=stores.tokens,
        signer=signer,
        keyring=keyring,
        stops=stops,
        audit=audit,
        clock=clock,
        entropy=entropy,
        lifetime=settings.token_lifetime,
        max_lifetime=settings.max_token_lifetime,
        session_idle=settings.session_idle,
        session_lifetime=settings.session_lifetime,
    )
    accounts = Accounts(store=stores.accounts, tokens=tokens, audit=audit, clock=clock, entropy=entropy)
    workspaces = Workspaces(store=stores.workspaces, audit=audit, clock=clock)
    plugin = AuthPlugin(tokens=tokens, clock=clock)
    issuers = settings.issuers
    issuer_keys = IssuerKeys(system.fetcher, clock=clock)
    verifiers: list[Verifier] = [
        Anonymous(entropy),
        Reconnection(tokens, clock=clock, root=mark_of(settings.root_token)),
        Tickets(tokens, stops),
        Ours(
            signer,
            tokens,
            clock=clock,
            root_token=settings.root_token,
            others=[issuer.issuer for issuer in issuers],
        ),
        Foreign(issuers, issuer_keys, clock=clock, max_lifetime=settings.max_token_lifetime, counters=counters),
        Introspection(issuers, system.fetcher, clock=clock),
    ]
    reserved = {PREFIX, *VOUCHED, *(f"{issuer.alias}|" for issuer in issuers)}
    asked = around(plugin, verifiers, clock=clock, reserved=reserved)
    refused = _refused(audit, limits, watch)
    chain = Chain(asked, stops=stops, clock=clock, refused=refused)
    approvals = Approvals(
        interactions=system.interactions,
        keyring=keyring,
        audit=audit,
        clock=clock,
        base_url=pages or (lambda: base_url),
        permission_of=workspaces.permission,
    )
    consents = Consents(
        interactions=system.interactions,
        keyring=keyring,
        audit=audit,
        clock=clock,
        base_url=pages or (lambda: base_url),
        keep=consent_kept(tokens, lifetime=settings.consent_lifetime),
        lifetime=settings.consent_lifetime,
    )
    login = LoginService(
        interactions=system.interactions,
        tokens=tokens,
        chain=chain,
        audit=audit,
        limits=limits,
        clock=clock,
        entropy=entropy,
        base_url=pages or (lambda: base_url),
        wait=settings.login_time,
        permission_of=workspaces.permission,
        plugin=plugin,
        lifetime=settings.token_lifetime,
        longest=settings.max_token_lifetime,
    )
    system.audit.log = None if isinstance(audit, NoAudit) else audit
    system.oversight.watch(stops=stops, approvals=approvals, permission_of=workspaces.permission)
    return Identity(
        system=system,
        settings=settings,
        audit=audit,
        limits=limits,
        watch=watch,
        stops=stops,
        signer=signer,
        chain=chain,
        plain=Chain(verifiers, stops=stops, clock=clock),
        tokens=tokens,
        accounts=accounts,
        local=LocalLogin(accounts=accounts, tokens=tokens, limits=limits, audit=audit, clock=clock, watch=watch),
        workspaces=workspaces,
        login=login,
        plugin=plugin,
        approvals=approvals,
        consents=consents,
        blocks=Blocks(stops=stops, audit=audit, clock=clock),
        issuer_keys=issuer_keys,
    )


def _audit(system: System, settings: IdentitySettings) -> Audit:
    if not settings.audit:
        return NoAudit()
    also: list[Callable[[Record], None]] = [counted(system.recorder)]
    if settings.audit_file:
        from valetkey.adapters.audit_file import AuditFile

        also.append(AuditFile(Path(settings.audit_file)))
    return AuditLog(
        store=system.stores.audit,
        keyring=system.sealer.keyring,
        clock=system.clock,
        home=system.home,
        also=also,
    )


def _signer(system: System, settings: IdentitySettings, base_url: str) -> Signer:
    """Decision 20: with a shared secret, the names that tools of that ecosystem expect."""
    shared = settings.jwt_secret is not None
    issuer = settings.issuer or (ISSUER if shared else base_url)
    return Signer(
        system.sealer.keyring,
        secret=settings.jwt_secret,
        issuer=issuer,
        audience=settings.audience or (AUDIENCE if shared else base_url),
        namespace=settings.namespace or (issuer if shared else f"{base_url}/"),
    )


def _refused(audit: Audit, limits: Limits, watch: Watch) -> Refused:
    """A bad token is noted, and too many of one address are answered by a wait; a good one is let in meanwhile."""

    async def refused(presented: Presented) -> None:
        if not presented.address:
            return
        count = await limits.count(BAD_KEYS_FROM_ADDRESS, presented.address)
        if count > BAD_KEYS_FROM_ADDRESS.most:
            raise limits.refusal(BAD_KEYS_FROM_ADDRESS, presented.address)
        audit.tell(
            Entry(
                action=Action.TOKEN_REFUSE,
                outcome="refused",
                address=presented.address,
                details={"scheme": presented.scheme},
            )
        )
        await watch.failed(address=presented.address)

    return refused
