"""Presented, Call, Allowed, Connected, Loan, Lent, ToolResult: a call on its way down the pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from valetkey.model.caller import Caller
from valetkey.model.connections import Connection
from valetkey.model.needs import Needs
from valetkey.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Possession:
    """A proof that came with a token, and the request that it has to be for (RFC 9449).

    Attributes:
        proof: the value of the ``DPoP`` header.
        method, url: of the request, as the client wrote them.
    """

    proof: str = field(repr=False)
    method: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """What a request brings to say who is calling.

    Attributes:
        scheme: the kind of credential: ``host`` for a host program that vouches for its thread, ``bearer`` for a
            token, ``dpop`` for one that is bound to a key, ``session`` for a browser's cookie, ``anonymous`` for
            nothing at all, ``newcomer`` for nothing on a socket, ``reconnection`` for a client that comes back,
            ``ticket`` for what a service was lent.
        value: the credential itself.
        address: the client's, for limits and the audit log; empty where no socket tells.
        possession: of scheme ``dpop``: the proof that came along.
    """

    scheme: str
    value: str | Secret
    address: str = ""
    possession: Possession | None = None


BEARER = "bearer"
DPOP = "dpop"
SESSION = "session"
TICKET = "ticket"
NOTHING = "anonymous"
NEWCOMER = "newcomer"
"""Nothing at all, on a socket of its own: each is somebody else, with a workspace of their own."""
RECONNECTION = "reconnection"
"""What an RPC client comes back with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A tool call as it was asked for.

    Attributes:
        profile: which of several accounts; None when none was named.
        entrance: the way in, such as ``pocket``.
        conversation: what remembers the connections that it was lent.
        deadline: seconds that the tool may run.
    """

    tool: str
    needs: Needs
    arguments: Mapping[str, object] = field(default_factory=dict, repr=False)
    profile: str | None = None
    entrance: str = ""
    conversation: str = ""
    deadline: float = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """A call that policy allowed. Only ``policy/decide.py`` makes one."""

    caller: Caller
    call: Call
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """An allowed call with the connections that meet its needs."""

    allowed: Allowed
    connections: tuple[Connection, ...] = ()


class Prover(Protocol):
    """Proves for each request that we hold the key to which a token is bound (RFC 9449)."""

    def headers(self, method: str, url: str) -> Mapping[str, str]:
        """What goes on that one request besides."""
        ...

    def hear(self, url: str, nonce: str | None) -> bool:
        """Remember the nonce that a server's answer brought; whether a proof with it is another one than before."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Loan:
    """What one connection lends to an HTTP request.

    Attributes:
        handler: the auth handler whose credential it is.
        headers: where the credential goes by itself, such as ``Authorization``.
        query: query parameters where it goes by itself, where the provider takes it in no header.
        prover: makes the proof that goes along, where the token is bound to a key.
        token: the bare value, for an operation that says where it goes; None: there is no one value.
    """

    handler: str
    headers: Mapping[str, Secret] = field(default_factory=dict)
    query: Mapping[str, Secret] = field(default_factory=dict)
    prover: Prover | None = None
    token: Secret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lent:
    """A connected call with the credentials for this one call.

    Attributes:
        variables: what the tool reads, by name.
        context: what the tool may know of its caller: ``thread_id`` and ``profile``.
        secrets: everything that was lent to this conversation, for the scrubber.
        origins: where the credentials may be sent.
        loans: what each of the connections lends to a request, in their order.
    """

    connected: Connected
    variables: Mapping[str, Secret] = field(default_factory=dict)
    context: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()
    origins: frozenset[str] = frozenset()
    loans: tuple[Loan, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What came back, scrubbed.

    Attributes:
        value: the tool's own value, or the text of its failure.
        failed: whether the tool's own code raised or ran out of time.
    """

    value: object
    failed: bool = False
