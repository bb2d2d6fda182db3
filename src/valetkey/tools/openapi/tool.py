"""One operation as a tool."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from valetkey.errors import ExchangeFailed, InvalidArguments
from valetkey.model.calls import Lent
from valetkey.model.needs import Needs
from valetkey.ports.world import Fetcher, Request, Response, Trust
from valetkey.tools.openapi.answer import OperationFailed, value_of
from valetkey.tools.openapi.names import Paths
from valetkey.tools.openapi.parameters import Shape
from valetkey.tools.openapi.paths import Template, readings
from valetkey.tools.openapi.placing import heard_nonce, joined, parts_named, place, proofs
from valetkey.tools.openapi.quick import Quick
from valetkey.tools.openapi.request import Parts, parts_of
from valetkey.tools.openapi.security import Security
from valetkey.tools.openapi.validate import check

ACCEPT = "application/json, text/*;q=0.8, */*;q=0.5"
MARGIN = 0.95
"""The part of a call's deadline that its request has, so that what came by then can be told."""

UNAUTHORIZED = 401

_PARTS = "request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the operations of one document are.

    Attributes:
        exchange: sends requests there.
        base_url: scheme, host and the path before every operation's; no slash at its end.
        origin: of the base; None: the app itself, in process.
        deadline: seconds for a call.
        cap: bytes of an answer that are read.
    """

    exchange: Fetcher
    base_url: str
    origin: str | None
    deadline: float
    cap: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenApiTool:
    """An operation that a model can call.

    Attributes:
        method: in capitals.
        path: its template.
        operation: the Operation Object, as the document has it.
        requires_approval: whether a person approves each call (``x-requires-approval``).
        shape: which argument goes where.
        security: which credential it gets, and where that goes.
        needs: the same as the road takes it.
        nearby: templates of other operations that a value of the path could lead to.
        paths: which are offered; a value may not lead to one that is not.
    """

    name: str
    description: str
    method: str
    path: str
    operation: Mapping[str, Any] = field(repr=False)
    requires_approval: bool
    shape: Shape = field(repr=False)
    security: Security = field(repr=False)
    needs: Needs = field(repr=False)
    target: Target = field(repr=False)
    template: Template = field(repr=False)
    nearby: Sequence[Template] = field(default=(), repr=False)
    paths: Paths = field(repr=False)
    _quick: Quick = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_quick", Quick(self.shape.schema))

    @property
    def schema(self) -> Mapping[str, Any]:
        """JSON schema of its arguments."""
        return self.shape.schema

    @property
    def deadline(self) -> float:
        """Seconds that it may run."""
        return self.target.deadline

    def bind(self, arguments: Mapping[str, object]) -> Mapping[str, object]:
        """The request that the arguments make, still without a credential.

        Raises:
            InvalidArguments: they do not fit the schema, or cannot go where they belong.
        """
        if not self._quick.sure(arguments):
            check(self.name, arguments, self.schema)
        parts = parts_of(self.name, self.template, self.shape, arguments)
        if self.shape.closed:
            for _, name in parts_named(parts) & self.shape.closed:
                raise InvalidArguments(f"{self.name}: {name} is filled by a credential. Leave it out.")
        self._keep_here(parts.path)
        return {_PARTS: parts}

    def _keep_here(self, path: str) -> None:
        """A value of the path must not lead to another operation, nor to a path that is not offered."""
        if not self.template.names:
            return
        for form in readings(path):
            if self.paths.closes(form) or any(other.fits(form.casefold()) for other in self.nearby):
                raise InvalidArguments(f"{self.name}: a value of the path {self.path} leads to another operation.")

    async def run(
        self, lent: Lent, arguments: Mapping[str, object], *, heard: Callable[[int], None] | None = None
    ) -> object:
        """Send the request with what was lent, once, and read its answer.

        Args:
            lent: the credentials.
            arguments: as ``bind`` gave them.
            heard: told the answer's status.

        Raises:
            OperationFailed: the answer says that it failed, or there was none in time.
            InvalidArguments: an argument is where the credential goes.
            Denied: a credential is not for where the request goes.
            BlockedAddress, ExchangeFailed: see ``Fetcher``.
        """
        parts = arguments.get(_PARTS)
        if not isinstance(parts, Parts):
            raise InvalidArguments(f"{self.name}: the arguments have to be bound first.")
        target = self.target
        placed = place(self.security, lent, origin=target.origin)
        full = joined(parts, placed, self.shape)
        shown = "" if target.origin is None else target.base_url + full.path
        seconds = min(target.deadline, lent.connected.allowed.call.deadline)
        request = Request(
            method=self.method,
            url=target.base_url + full.target,
            trust=Trust.OPERATOR,
            headers={"Accept": ACCEPT, **full.sent_headers},
            body=full.content,
            deadline=seconds * MARGIN,
            cap=target.cap,
            whole=False,
        )
        try:
            response = await self._sent(request, lent)
        except ExchangeFailed as error:
            if not error.late:
                raise
            done = "It may have been carried out: look before you repeat it." if error.sent else "It was not sent."
            late = f"Request timeout: no answer within {seconds:g} s. {done}"
            raise OperationFailed(late, url=shown) from None
        if heard is not None:
            heard(response.status)
        return value_of(response, url=shown, secrets=lent.secrets)

    async def _sent(self, request: Request, lent: Lent) -> Response:
        """The answer; once more where it only asks for another nonce in the proof (RFC 9449 §9)."""
        for again in (False, True):
            proof = proofs(lent, request.method, request.url, request.headers)
            sending = replace(request, headers={**request.headers, **proof}) if proof else request
            response = await self.target.exchange.fetch(sending)
            if again or response.status != UNAUTHORIZED:
                break
            if not heard_nonce(lent, request.url, response.header("dpop-nonce")):
                break
        return response
