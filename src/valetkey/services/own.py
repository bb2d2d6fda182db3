"""Our own services: hypha-login, and ws, in which callers look after their tokens."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from valetkey.errors import CouldNotTell, Denied, InvalidArguments, Unauthenticated
from valetkey.identity.login import SERVICE, LoginService
from valetkey.limits import REVOCATIONS_BY_USER
from valetkey.model.caller import Caller
from valetkey.model.calls import BEARER, Presented
from valetkey.model.tokens import TokenKind
from valetkey.model.users import TokenConfig
from valetkey.model.workspaces import PUBLIC
from valetkey.secret import Secret
from valetkey.services.table import Service, ServiceTable, Who

if TYPE_CHECKING:
    from valetkey.identity.chain import Chain
    from valetkey.identity.minting import PermissionOf
    from valetkey.identity.plugin import AuthPlugin
    from valetkey.identity.tokens import Tokens
    from valetkey.limits import Limits

MANAGER = "ws"


def register_login(table: ServiceTable, login: LoginService, given: Mapping[str, Any] | None = None) -> Service:
    """Put the login service into the table; what a host program gave of its own goes before ours."""
    own = _login_functions(login)
    theirs = dict(given or {})
    service = {
        "id": SERVICE,
        "name": "Sign in",
        "description": "Signs a program in: its person says yes in a browser.",
        **own,
        **theirs,
        "type": "functions",
    }
    service["config"] = {**(theirs.get("config") or {}), "visibility": "public", "workspace": PUBLIC}
    return table.register(service, workspace=PUBLIC, overwrite=True, ours=frozenset(own) - frozenset(theirs))


def _login_functions(login: LoginService) -> dict[str, Any]:
    async def start(workspace: str | None = None, expires_in: float | None = None, *, who: Who) -> Any:
        return await login.start(workspace, expires_in, address=who.address, agent=who.agent)

    async def check(key: str, timeout: float | None = None, profile: bool = False, *, who: Who) -> Any:  # noqa: ARG001, FBT001, FBT002
        return await login.check(key, timeout, profile)

    async def report(key: str, token: str, *, who: Who, **known: Any) -> None:
        known.pop("address", None)
        await login.report(key, token, address=who.address, **known)

    async def profile(config: object = None, *, who: Who) -> Any:  # noqa: ARG001
        return await login.profile(config)

    async def logout(config: object = None, *, who: Who) -> Any:  # noqa: ARG001
        return await login.logout(config)

    return {"start": start, "check": check, "report": report, "profile": profile, "logout": logout}


class Manager:
    """``ws``: a caller's own tokens, and who is behind one.

    Args:
        plugin: a generator of the host program's own makes the tokens, where one is registered.
        limits: how often a user may revoke.
    """

    def __init__(
        self, *, tokens: Tokens, chain: Chain, permission_of: PermissionOf, plugin: AuthPlugin, limits: Limits
    ) -> None:
        self._tokens = tokens
        self._chain = chain
        self._permission_of = permission_of
        self._plugin = plugin
        self._limits = limits

    def service(self, workspace: str) -> Service:
        """The same in every workspace, and public: each function decides for itself."""
        functions = {
            "generate_token": self.generate_token,
            "parse_token": self.parse_token,
            "revoke_token": self.revoke_token,
            "list_tokens": self.list_tokens,
            "echo": self.echo,
        }
        return Service(
            id=MANAGER,
            workspace=workspace,
            type="functions",
            functions=functions,
            name="Workspace manager",
            visibility="public",
            ours=frozenset(functions),
        )

    async def generate_token(self, config: Mapping[str, Any] | None = None, *, who: Who) -> str:
        """A child of the caller's token: `TokenConfig`, as a dict.

        Raises:
            InvalidArguments: the config can be none.
            Denied: it would be wider than the caller's own.
            InvalidSetting: the host program's own generator failed.
        """
        try:
            wanted = TokenConfig.model_validate(config or {})
        except ValidationError as error:
            raise InvalidArguments(f"config cannot be used: {_fields(error)}. Check its form.") from None
        if wanted.workspace is None:
            wanted = wanted.model_copy(update={"workspace": who.workspace})
        child = await self._tokens.narrow(
            who.caller, wanted, permission_of=lambda _, workspace: self._permission_of(who.caller, workspace)
        )
        if self._plugin.generates:
            return await self._plugin.generate(child.user, child.expires_in, owner=child.owner, parent=child.parent)
        secret, _ = await self._tokens.issue(
            TokenKind.ACCESS, child.user, child.owner, expires_in=child.expires_in, parent=child.parent
        )
        return secret.reveal()

    async def parse_token(self, token: str, *, who: Who) -> dict[str, Any]:
        """The user behind a token, for callers who signed in.

        Raises:
            Denied: the caller did not.
            Unauthenticated: the token is not good.
            RateLimited: too many of those came from that address.
        """
        _signed_in(who)
        if not isinstance(token, str):
            raise InvalidArguments("token has to be a text.")
        caller = await self._chain.identify(Presented(scheme=BEARER, value=Secret(token), address=who.address))
        return {} if caller.user is None else caller.user.model_dump(mode="json")

    async def revoke_token(self, token: str, *, who: Who) -> None:
        """End a token, and what was made with it.

        Raises:
            Denied: the caller may not.
            RateLimited: they have revoked too many.
        """
        _signed_in(who)
        if not isinstance(token, str):
            raise InvalidArguments("token has to be a text.")
        await self._limits.take(REVOCATIONS_BY_USER, " ".join(who.caller.principal))
        await revoke(who.caller, token, tokens=self._tokens, chain=self._chain)

    async def list_tokens(self, *, who: Who) -> list[dict[str, Any]]:
        """The caller's tokens, without their texts."""
        _signed_in(who)
        return [
            {
                "id": token.id,
                "kind": token.kind.value,
                "name": token.name,
                "workspace": token.owner.workspace,
                "created_at": token.created_at,
                "expires_at": token.expires_at,
                "last_used_at": token.last_used_at,
                "address": token.address,
            }
            for token in await self._tokens.list(who.caller)
        ]

    async def echo(self, data: Any = None, *, who: Who) -> Any:
        """The same back."""
        return data


async def revoke(caller: Caller, text: str, *, tokens: Tokens, chain: Chain) -> None:
    """End a token of whichever kind, and what was made with it; one that is good here, for good.

    Raises:
        Denied: the caller may not.
        InvalidArguments: that is no token.
    """
    with contextlib.suppress(Unauthenticated, CouldNotTell):
        await tokens.parent(await chain.identify(Presented(scheme=BEARER, value=Secret(text))))
    await tokens.revoke_text(caller, text)


def _signed_in(who: Who) -> None:
    user = who.caller.user
    if user is None or user.is_anonymous:
        raise Denied("Sign in first: this is not for anonymous callers.")


def _fields(error: ValidationError) -> str:
    return ", ".join(sorted({".".join(map(str, each["loc"])) or "its form" for each in error.errors()}))
