"""A person's yes to a service as a row among their tokens: listed, revocable, with an end."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from valetkey.identity.tokens import LONGEST_NAME, Tokens
from valetkey.model.caller import Owner
from valetkey.model.lendings import FACTS, VIA, Lending
from valetkey.model.users import ScopeInfo, UserInfo

Keep = Callable[[Owner, str, Lending], Coroutine[Any, Any, None]]


def consent_kept(tokens: Tokens, *, lifetime: float) -> Keep:
    """What keeps a yes: whose, their ``UserInfo.id``, to what.

    Args:
        tokens: among which it is a row.
        lifetime: seconds that it holds.
    """

    async def keep(owner: Owner, user_id: str, lending: Lending) -> None:
        scopes = [f"{VIA}{each.provider}" for each in lending.accounts]
        scope = ScopeInfo(**{"extra_scopes": scopes, FACTS: lending.facts})  # type: ignore[arg-type]
        user = UserInfo(id=user_id, roles=[], scope=scope)
        name = "".join(char for char in lending.service if char.isprintable())[:LONGEST_NAME]
        await tokens.note_consent(user, owner, expires_in=lifetime, name=name)

    return keep
