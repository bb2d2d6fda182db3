"""Lent credentials onto a request, after the arguments: theirs is the last word."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote

from valetkey.connections.session_credential import SESSION
from valetkey.errors import Denied, InvalidArguments
from valetkey.model.calls import Lent, Loan
from valetkey.providers.endpoints import permits
from valetkey.secret import Secret
from valetkey.tools.openapi.parameters import Parameter, Shape
from valetkey.tools.openapi.request import Parts
from valetkey.tools.openapi.security import AUTHORIZATION, Bound, Security, Spot

_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
# What says where a request goes and how long it is, whoever's credential it were (decision 18).
_NO_CREDENTIAL = re.compile(
    r"host|cookie|content-.*|transfer-encoding|connection|keep-alive|te|trailer|upgrade|expect|x-forwarded-.*|proxy-.*",
    re.IGNORECASE,
)
_COOKIE_SAFE = "!#$&'()*+-./:<=>?@[]^_`{|}~"


@dataclass(kw_only=True)
class Placed:
    """What credentials add to a request. Does not print."""

    headers: dict[str, str] = field(default_factory=dict, repr=False)
    query: list[tuple[str, str]] = field(default_factory=list, repr=False)
    cookies: list[tuple[str, str]] = field(default_factory=list, repr=False)

    @property
    def names(self) -> set[tuple[str, str]]:
        """(place, name in lower case) of each."""
        return _names(self.headers, self.query, self.cookies)


def place(security: Security, lent: Lent, *, origin: str | None) -> Placed:
    """Where each credential goes that was lent.

    Args:
        security: what the operation declares.
        lent: what was lent to this call.
        origin: where the request goes; None: into the app itself.

    Raises:
        Denied: a provider's credential is not for that origin.
    """
    connections = lent.connected.connections
    if origin is not None:
        for connection in connections:
            if connection.provider != SESSION and not permits(lent.origins, origin):
                raise Denied(
                    f"The account at {connection.provider} is not lent to {origin}: that is none of its own addresses."
                )
    for bounds in security.alternatives:
        if _is_met(bounds, lent):
            placed = Placed(headers=dict(security.static))
            if _all_put(placed, bounds, lent.loans):
                return placed
    return Placed(headers=dict(security.static))


def _is_met(bounds: tuple[Bound, ...], lent: Lent) -> bool:
    """Whether what was lent may stand for these."""
    connections = lent.connected.connections
    if len(bounds) != len(connections) or len(lent.loans) != len(connections):
        return False
    for bound, connection in zip(bounds, connections, strict=True):
        need = bound.need
        if need.provider != connection.provider or need.handler not in {None, connection.handler}:
            return False
    return True


def proofs(lent: Lent, method: str, url: str, headers: Mapping[str, str]) -> dict[str, str]:
    """What goes on this one request besides, where it has a token that is bound to a key (RFC 9449 §7.1)."""
    made: dict[str, str] = {}
    for loan in lent.loans:
        if loan.prover is not None and any(headers.get(name) == each.reveal() for name, each in loan.headers.items()):
            made.update(loan.prover.headers(method, url))
    return made


def heard_nonce(lent: Lent, url: str, nonce: str | None) -> bool:
    """Whether a refusal brought a nonce, with which a proof is another one (RFC 9449 §9)."""
    new = [loan.prover.hear(url, nonce) for loan in lent.loans if loan.prover is not None]  # each of them hears it
    return any(new)


def _all_put(placed: Placed, bounds: tuple[Bound, ...], loans: tuple[Loan, ...]) -> bool:
    for bound, loan in zip(bounds, loans, strict=True):
        for spot in bound.spots:
            if not _put(placed, spot, loan):
                return False
    return True


def _put(placed: Placed, spot: Spot, loan: Loan) -> bool:
    """Put one loan where the scheme says; whether it has what goes there."""
    if spot.way == "all" or not spot.name:
        put = [_put_header(placed, name, value.reveal()) for name, value in loan.headers.items()]
        for name, token in loan.query.items():
            put.append(_put_key(placed, Spot(way="key", place="query", name=name), token.reveal()))
        return all(put)
    own = _header_of(loan, spot.name if spot.place == "header" else "")
    if spot.way == "key":
        value = loan.token if own is None else own
        if value is None:
            return False
        return _put_key(placed, spot, value.reveal())
    authorization = own or _header_of(loan, AUTHORIZATION)
    if authorization is not None:
        return _put_header(placed, spot.name, authorization.reveal())
    if spot.way == "bearer" and loan.token is not None and not loan.headers:
        return _put_header(placed, spot.name, f"Bearer {loan.token.reveal()}")
    return False


def _header_of(loan: Loan, name: str) -> Secret | None:
    lower = name.lower()
    for key, value in loan.headers.items():
        if key.lower() == lower:
            return value
    return None


def _put_key(placed: Placed, spot: Spot, value: str) -> bool:
    if spot.place == "header":
        return _put_header(placed, spot.name, value)
    if spot.place == "query":
        placed.query.append((quote(spot.name, safe="-._~"), quote(value, safe="-._~")))
    else:
        placed.cookies.append((spot.name, quote(value, safe=_COOKIE_SAFE)))
    return True


def _put_header(placed: Placed, name: str, value: str) -> bool:
    if not _HEADER_VALUE.fullmatch(value) or _NO_CREDENTIAL.fullmatch(name):
        return False
    for key in [key for key in placed.headers if key.lower() == name.lower()]:
        del placed.headers[key]
    placed.headers[name] = value
    return True


def joined(parts: Parts, placed: Placed, shape: Shape) -> Parts:
    """The request with its credential.

    Raises:
        InvalidArguments: an argument that could be left out is where the credential goes; names it.
    """
    both = (parts.headers and placed.headers) or (parts.query and placed.query) or (parts.cookies and placed.cookies)
    clashing = placed.names & parts_named(parts) if both else None
    if not clashing:
        return Parts(
            path=parts.path,
            query=(*parts.query, *placed.query),
            headers={**parts.headers, **placed.headers},
            cookies=(*parts.cookies, *placed.cookies),
            content=parts.content,
        )
    own: dict[tuple[str, str], Parameter] = {(each.place, each.wire.lower()): each for each in shape.parameters}
    for where, name in sorted(clashing):
        parameter = own.get((where, name))
        # One that has to be given is given, and not sent: the credential's own value is.
        if parameter is None or not parameter.required:
            called = name if parameter is None else parameter.argument
            raise InvalidArguments(f"{called} is filled by the credential of this call. Leave it out.")
    headers = {name: value for name, value in parts.headers.items() if ("header", name.lower()) not in clashing}
    return replace(
        parts,
        query=(*(pair for pair in parts.query if ("query", _plain(pair[0])) not in clashing), *placed.query),
        headers={**headers, **placed.headers},
        cookies=(*(pair for pair in parts.cookies if ("cookie", pair[0].lower()) not in clashing), *placed.cookies),
    )


def parts_named(parts: Parts) -> set[tuple[str, str]]:
    """(place, name in lower case) of all that arguments have filled."""
    return _names(parts.headers, parts.query, parts.cookies)


def _names(
    headers: Iterable[str], query: Iterable[tuple[str, str]], cookies: Iterable[tuple[str, str]]
) -> set[tuple[str, str]]:
    found = {("header", name.lower()) for name in headers}
    found.update(("query", _plain(name)) for name, _ in query)
    found.update(("cookie", name.lower()) for name, _ in cookies)
    return found


def _plain(name: str) -> str:
    return unquote(name).lower() if "%" in name else name.lower()
