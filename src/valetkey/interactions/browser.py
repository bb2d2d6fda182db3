"""The browser whose request is being served, and whether it is the one that may answer."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

from valetkey.errors import Denied
from valetkey.model.caller import Caller
from valetkey.model.interactions import Interaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Browser:
    """The browser that sent a request.

    Attributes:
        claims: of its session, and of each cookie that the host program's confirming call gave it; see ``claim_of``.
        caller: who is signed in there; None: nobody.
        refused: is told of an interaction that it wanted to answer and may not.
    """

    claims: frozenset[str] = field(default=frozenset(), repr=False)
    caller: Caller | None = None
    refused: Callable[[Interaction], None] = field(default=lambda _: None, repr=False)


BROWSER: ContextVar[Browser | None] = ContextVar("valetkey_browser", default=None)
"""Set by the web for the time of a request, and carried along into threads and onto the home loop."""


def claim_of(kind: Literal["session", "cookie"], value: str) -> str:
    """What a claimed interaction keeps of a browser: SHA-256, hexadecimal.

    A session is told by its id, a cookie by its random value; the two never meet, since an id is no secret.
    """
    return hashlib.sha256(f"{kind}\0{value}".encode("utf-8", "surrogatepass")).hexdigest()


def claimed_here(interaction: Interaction) -> bool:
    """Whether the browser of this request is the one that claimed it."""
    browser, claimed_by = BROWSER.get(), interaction.claimed_by.encode()
    if browser is None or not claimed_by:
        return False
    return any(hmac.compare_digest(claimed_by, claim.encode()) for claim in browser.claims)


def only_claimer(interaction: Interaction) -> None:
    """Let nobody but the claimer go on.

    Raises:
        Denied: it is another browser, or none at all; the interaction stays as it is.
    """
    if claimed_here(interaction):
        return
    browser = BROWSER.get()
    if browser is None:
        raise Denied(
            "This answer came by a way that does not tell whose browser it is from, so it is not taken. "
            "Serve the callback by the auth handler's own router."
        )
    browser.refused(interaction)
    raise Denied(
        "This was begun in another browser, so nothing was done with what you brought. Open the link that your "
        "program gave you in this browser, and go on from there."
    )
