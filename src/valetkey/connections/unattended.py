"""What the grants have in common that no person takes part in; what they give is kept in memory only."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from typing import NoReturn

from valetkey.connections.at_provider import OAuth2Base
from valetkey.connections.handler import Begun, Flow
from valetkey.errors import InvalidAnswer, RefreshFailed
from valetkey.model.connections import Credential, Grant
from valetkey.oauth.client import OAuthClient
from valetkey.oauth.clients import ClientSettings
from valetkey.protocol.token import TokenAnswer
from valetkey.secret import Secret


class Unattended(OAuth2Base):
    """A token that is asked for when it is needed; nobody opens a link."""

    interactive = False

    @abstractmethod
    async def obtain(self, flow: Flow) -> Grant:
        """Ask the provider."""

    def kept_as(self, flow: Flow) -> tuple[str, ...]:
        """Settings, with client id, audience and resource, and the scopes."""
        return (self._settings, *sorted(flow.scopes))

    @cached_property
    def _settings(self) -> str:
        """A change of settings makes a new handler."""
        return _digest(self.world.clients.of(self.provider.name))

    async def begin(self, flow: Flow) -> Begun:
        """No link: nobody has to do anything."""
        return Begun(url="")

    def judge(self, private: Mapping[str, str], parameters: Sequence[tuple[str, str]]) -> NoReturn:
        """No callback is ever an answer."""
        raise InvalidAnswer(f"{self.name} asks {self.provider.title} by itself, not by a page.")

    async def finish(self, flow: Flow, private: Mapping[str, str], answer: Mapping[str, str]) -> Grant:
        """Ask for a token.

        Raises:
            ValetkeyError: as ``obtain`` does.
        """
        return await self.obtain(flow)

    async def refresh(self, credential: Credential, scopes: frozenset[str]) -> NoReturn:
        """It is asked for anew instead."""
        raise RefreshFailed(f"{self.name} renews nothing: it asks {self.provider.title} for a new token.")

    def granted(
        self, given: TokenAnswer, *, account: str, client_id: str, until: float | None = None, client: OAuthClient
    ) -> Grant:
        """What was given, as a grant; a refresh token never is part of it.

        Args:
            given: the answer.
            account: whose it is, for people.
            client_id: to whom it was issued.
            until: it is used no longer than that, in seconds since the epoch; None: as long as it lives.
            client: we, who asked; its key is the one to which the token is bound.
        """
        key = None if client.possession is None else client.possession.seed
        ends = None if given.lifetime is None else self.world.clock.now() + given.lifetime
        return Grant(
            credential=Credential(
                access_token=given.access_token, token_type=given.token_type, client_id=client_id, dpop_key=key
            ),
            scopes=given.scopes,
            expires_at=until if ends is None else ends if until is None else min(ends, until),
            account=account or None,
        )


def token_digest(token: Secret) -> str:
    """What a token is told apart by: SHA-256, hexadecimal."""
    return hashlib.sha256(token.reveal().encode("utf-8", "surrogatepass")).hexdigest()


def _digest(settings: ClientSettings) -> str:
    hashed = hashlib.sha256()
    for each in fields(settings):
        value = getattr(settings, each.name)
        text = token_digest(value) if isinstance(value, Secret) else repr(value)
        hashed.update(f"{each.name}={len(text)}:{text};".encode("utf-8", "surrogatepass"))
    return hashed.hexdigest()
