"""The needs of several tools, one for each provider, with the scopes of all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from valetkey.errors import InvalidArguments
from valetkey.model.needs import Need, Needs


def merge_needs(tools: Sequence[tuple[str, Needs]], provider_of: Callable[[Need], str]) -> list[Need]:
    """One need for each provider, in the order of the tools.

    Raises:
        InvalidArguments: two tools want the same provider's account by two handlers; there is one account for both.
    """
    merged: dict[str, tuple[str, Need]] = {}
    for tool, needs in tools:
        for need in needs.alternatives[0] if needs.alternatives else ():
            provider = provider_of(need)
            first, before = merged.get(provider, (tool, need))
            if None not in (before.handler, need.handler) and before.handler != need.handler:
                raise InvalidArguments(
                    f"{first} wants its {provider} account by {before.handler}, and {tool} by {need.handler}: "
                    "name the same auth_handler for both, or call them with different profiles."
                )
            merged[provider] = (
                first,
                Need(
                    provider=provider,
                    scopes=before.scopes | need.scopes,
                    handler=before.handler or need.handler,
                ),
            )
    return [need for _, need in merged.values()]
