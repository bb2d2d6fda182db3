"""The workspace manager's functions for tokens: a caller's own, and who is behind one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from valetkey.errors import CouldNotTell, InvalidArguments, Unauthenticated
from valetkey.limits import REVOCATIONS_BY_USER, Limit
from valetkey.model.caller import Caller
from valetkey.model.calls import BEARER, Presented
from valetkey.model.tokens import TokenKind
from valetkey.model.users import TokenConfig
from valetkey.secret import Secret
from valetkey.services.asking import signed_in
from valetkey.services.sight import Who

if TYPE_CHECKING:
    from valetkey.identity.chain import Chain
    from valetkey.identity.minting import PermissionOf
    from valetkey.identity.plugin import AuthPlugin
    from valetkey.identity.tokens import Tokens
    from valetkey.limits import Limits


ANONYMOUS_LIFETIME = 3600.0
"""Seconds that a token of somebody whom nobody knows lives at most."""

TOKENS_OF_ANONYMOUS = Limit(
    name="anonymous-token",
    most=20,
    period=60,
    text="Too many tokens were made here by anonymous callers.",
    by_address=True,
)


class TokenFunctions:
    """What callers do with their tokens.

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

    def functions(self) -> dict[str, Callable[..., Any]]:
        """By name."""
        return {
            "generate_token": self.generate_token,
            "parse_token": self.parse_token,
            "revoke_token": self.revoke_token,
            "list_tokens": self.list_tokens,
        }

    async def generate_token(self, config: Mapping[str, Any] | None = None, *, who: Who) -> str:
        """A child of the caller's token: `TokenConfig`, as a dict.

        Raises:
            InvalidArguments: the config can be none.
            Denied: it would be wider than the caller's own.
            InvalidSetting: the host program's own generator failed.
        """
        if config is not None and not isinstance(config, Mapping):
            raise InvalidArguments("config is a map, such as {'expires_in': 3600}.")
        try:
            wanted = TokenConfig.model_validate(dict(config or {}))
        except ValidationError as error:
            raise InvalidArguments(f"config cannot be used: {_fields(error)}. Check its form.") from None
        if wanted.workspace is None:
            wanted = wanted.model_copy(update={"workspace": who.workspace})
        if who.caller.user is not None and who.caller.user.is_anonymous:
            wanted = wanted.model_copy(update={"expires_in": min(wanted.expires_in, ANONYMOUS_LIFETIME)})
        child = await self._tokens.narrow(
            who.caller, wanted, permission_of=lambda _, workspace: self._permission_of(who.caller, workspace)
        )
        if child.user.is_anonymous:
            await self._limits.take(TOKENS_OF_ANONYMOUS, who.address)
        if self._plugin.generates:
            return await self._plugin.generate(child.user, child.expires_in, owner=child.owner, parent=child.parent)
        secret, _ = await self._tokens.issue(
            TokenKind.ACCESS, child.user, child.owner, expires_in=child.expires_in, parent=child.parent
        )
        return secret.reveal()

    async def parse_token(self, token: str, *, who: Who) -> dict[str, Any]:
        """The user behind a token that is good here, for callers who signed in.

        Raises:
            Denied: the caller did not.
            Unauthenticated: the token is not good, or was revoked.
            RateLimited: too many of those came from that address.
        """
        signed_in(who)
        if not isinstance(token, str):
            raise InvalidArguments("token has to be a text.")
        caller = await self._chain.identify(Presented(scheme=BEARER, value=Secret(token), address=who.address))
        return {} if caller.user is None else caller.user.model_dump(mode="json")

    async def revoke_token(self, token: str, *, who: Who) -> None:
        """End a token, and what was made with it; sockets that were opened with one of them, too.

        Raises:
            Denied: the caller may not.
            RateLimited: they have revoked too many.
        """
        signed_in(who)
        if not isinstance(token, str):
            raise InvalidArguments("token has to be a text.")
        await self._limits.take(REVOCATIONS_BY_USER, " ".join(who.caller.principal))
        await revoke(who.caller, token, tokens=self._tokens, chain=self._chain)

    async def list_tokens(self, *, who: Who) -> list[dict[str, Any]]:
        """The caller's tokens, without their texts."""
        signed_in(who)
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

    async def end_tokens_of(self, workspace: str) -> None:
        """End all tokens that were made for a workspace: whoever makes one of that name later did not give them."""
        for token in await self._tokens.every():
            scope = token.user.scope
            narrowed = scope is not None and (token.user.parent is not None or scope.current_workspace == workspace)
            if narrowed and scope is not None and workspace in scope.workspaces:
                await self._tokens.end(token, by="", reason="its workspace was deleted")


async def revoke(caller: Caller, text: str, *, tokens: Tokens, chain: Chain) -> None:
    """End a token of whichever kind, and what was made with it; one that is good here, for good.

    Raises:
        Denied: the caller may not.
        InvalidArguments: that is no token.
    """
    with contextlib.suppress(Unauthenticated, CouldNotTell):
        await tokens.parent(await chain.identify(Presented(scheme=BEARER, value=Secret(text))))
    await tokens.revoke_text(caller, text)


def _fields(error: ValidationError) -> str:
    return ", ".join(sorted({".".join(map(str, each["loc"])) or "its form" for each in error.errors()}))
