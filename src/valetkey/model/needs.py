"""What a tool asks for: alternatives of sets of (provider, scopes, handler); none means public."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """One account that a tool needs.

    Attributes:
        provider: the provider's name, lower case; empty where the handler's name alone says it.
        scopes: what the tool must be allowed to do there.
        handler: how the account is to be connected; None for the provider's default.
    """

    provider: str
    scopes: frozenset[str] = frozenset()
    handler: str | None = None


@dataclass(frozen=True, slots=True)
class Needs:
    """Alternatives, any one of which is enough; within one, every need must be met."""

    alternatives: tuple[tuple[Need, ...], ...]

    @property
    def public(self) -> bool:
        """Whether the tool runs without an account."""
        return any(not needs for needs in self.alternatives)


PUBLIC = Needs(((),))
