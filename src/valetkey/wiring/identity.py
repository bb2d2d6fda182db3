"""Identity: who is calling, what we issue, who may; the rooms of a server, over one system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from valetkey.audit import Audit
    from valetkey.identity.accounts import Accounts
    from valetkey.identity.chain import Chain
    from valetkey.identity.login import LoginService
    from valetkey.identity.logins.local import LocalLogin
    from valetkey.identity.plugin import AuthPlugin
    from valetkey.identity.tokens import Tokens
    from valetkey.identity.workspaces import Workspaces
    from valetkey.limits import Limits
    from valetkey.policy.approvals import Approvals
    from valetkey.policy.blocks import Blocks
    from valetkey.policy.decide import Policy
    from valetkey.settings.sections import Identity as IdentitySettings
    from valetkey.stops import Stops
    from valetkey.vault.signing import Signer
    from valetkey.wiring.system import System


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The rooms of one server. Everything runs on the home loop of its system.

    Attributes:
        chain: asks ours, configured issuers, then custom parsers (decision 22).
        login: the login service of seed 004.
        plugin: what ``register_auth_service`` put in place.
    """

    system: System
    settings: IdentitySettings
    audit: Audit
    limits: Limits
    stops: Stops
    signer: Signer
    chain: Chain
    tokens: Tokens
    accounts: Accounts
    local: LocalLogin
    workspaces: Workspaces
    login: LoginService
    plugin: AuthPlugin
    policy: Policy
    approvals: Approvals
    blocks: Blocks
