"""Which credential an operation gets: what it declares, as needs, and where what is lent goes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from valetkey.connections.session_credential import SESSION, SessionKind, handler_name
from valetkey.model.needs import Need, Needs
from valetkey.tools.openapi.parameters import KEY_HEADERS, sendable
from valetkey.tools.openapi.spec import Document, Unusable, resolve

MOST_ALTERNATIVES = 32
AUTHORIZATION = "Authorization"

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_BEARING = (SessionKind.BEARER_TOKEN, SessionKind.OAUTH2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Where a credential goes, as a security scheme says it (OpenAPI 3.1, "Security Scheme Object").

    Attributes:
        way: ``bearer`` and ``basic``: into a header; ``key``: the bare value, under a name; ``all``: wherever the
            credential goes by itself.
        place: of a key: header, query or cookie.
        name: of the header, the query's pair or the cookie; empty for a key that goes by itself.
    """

    way: Literal["bearer", "basic", "key", "all"]
    place: Literal["header", "query", "cookie"] = "header"
    name: str = AUTHORIZATION


@dataclass(frozen=True, slots=True)
class Bound:
    """One need, and where its credential goes."""

    need: Need
    spots: tuple[Spot, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """What an operation asks for.

    Attributes:
        alternatives: any one is enough; in the order in which they are tried.
        static: headers that the document itself gives (``x-custom-auth-headers``).
        declared: what it says, for people: the names of its schemes.
    """

    alternatives: tuple[tuple[Bound, ...], ...]
    static: Mapping[str, str] = field(default_factory=dict)
    declared: tuple[str, ...] = ()

    @property
    def needs(self) -> Needs:
        """The same as the road takes it."""
        return Needs(tuple(tuple(bound.need for bound in bounds) for bounds in self.alternatives))


NONE = Security(alternatives=((),))
_WHATEVER = Bound(Need(provider=SESSION), (Spot(way="all"),))


def security_of(document: Document, operation: Mapping[str, Any], providers: Mapping[str, str]) -> Security:
    """What an operation declares, by itself or through its document.

    Args:
        document: whose ``security`` and ``securitySchemes`` hold.
        operation: the Operation Object.
        providers: security scheme names to the providers whose accounts they take.
    """
    if operation.get("security") == []:
        return NONE
    own = operation.get("x-valetkey-provider")
    if isinstance(own, str) and own:
        need = Need(provider=own.lower(), scopes=frozenset(_scopes(operation.get("x-oauth2-scope"))))
        return Security(alternatives=((Bound(need, (Spot(way="all"),)),),), declared=(own,))
    extension = _extension(operation)
    if extension is not None:
        return extension
    declared = operation.get("security")
    declared = document.get("security") if declared is None else declared
    if declared is None:
        return Security(alternatives=((_WHATEVER,), ()))
    if not isinstance(declared, list):
        return NONE
    alternatives: list[tuple[Bound, ...]] = []
    is_mapped = is_optional = False
    named: list[str] = []
    for requirement in declared:
        if not isinstance(requirement, Mapping) or not requirement:
            is_optional = True
            continue
        named += [str(name) for name in requirement]
        options = [list(_options(document, str(name), scopes, providers)) for name, scopes in requirement.items()]
        is_mapped = is_mapped or any(bound.need.provider != SESSION for each in options for bound in each)
        alternatives += [_merged(chosen) for chosen in itertools.islice(itertools.product(*options), MOST_ALTERNATIVES)]
    kept = list(dict.fromkeys(alternatives))[:MOST_ALTERNATIVES]
    if is_optional or not is_mapped or not kept:
        kept.append(())
    return Security(alternatives=tuple(kept), declared=tuple(dict.fromkeys(named)))


def is_readable(holder: Mapping[str, Any]) -> bool:
    """Whether the ``security`` of a document or an operation is a list, or none is given."""
    return isinstance(holder.get("security"), list | None)


def _merged(chosen: Sequence[Bound]) -> tuple[Bound, ...]:
    """One need for what the same credential meets."""
    found: dict[tuple[str, str | None], Bound] = {}
    for bound in chosen:
        key = (bound.need.provider, bound.need.handler)
        if key in found:
            before = found[key]
            need = Need(provider=key[0], handler=key[1], scopes=before.need.scopes | bound.need.scopes)
            bound = Bound(need, (*before.spots, *bound.spots))  # noqa: PLW2901  # the two as one
        found[key] = bound
    return tuple(found.values())


def _options(document: Document, name: str, scopes: Any, providers: Mapping[str, str]) -> Iterator[Bound]:
    """The credentials that fit one scheme; none where nobody can have one."""
    try:
        scheme = resolve(document, schemes_of(document)[name])
    except (KeyError, Unusable):
        scheme = {}
    spot = spot_of(scheme)
    wanted = frozenset(_scopes(scopes))
    provider = providers.get(name) or scheme.get("x-valetkey-provider")
    if isinstance(provider, str) and provider:
        yield Bound(Need(provider=provider.lower(), scopes=wanted), (spot or Spot(way="all"),))
        return
    if spot is None:
        return
    for kind in _fitting(spot):
        yield Bound(Need(provider=SESSION, handler=handler_name(kind), scopes=wanted), (spot,))


def spot_of(scheme: Mapping[str, Any]) -> Spot | None:
    """Where a scheme's credential goes; None where it goes into no request (mutual TLS), or nobody knows."""
    match scheme.get("type"):
        case "http":
            match str(scheme.get("scheme")).lower():
                case "bearer":
                    return Spot(way="bearer")
                case "basic":
                    return Spot(way="basic")
        case "oauth2" | "openIdConnect":
            return Spot(way="bearer")
        case "apiKey":
            name, place = scheme.get("name"), scheme.get("in")
            fits = isinstance(name, str) and (_TOKEN.fullmatch(name) is not None or (place == "query" and name != ""))
            if place in {"header", "query", "cookie"} and isinstance(name, str) and fits:
                return Spot(way="key", place=place, name=name)
    return None


def _fitting(spot: Spot) -> tuple[SessionKind, ...]:
    kinds = {"bearer": _BEARING, "basic": (SessionKind.BASIC_AUTH,), "key": (SessionKind.API_KEY,)}.get(spot.way, ())
    if spot.way == "key" and spot.name.lower() == AUTHORIZATION.lower():
        kinds = (*kinds, *_BEARING, SessionKind.BASIC_AUTH)  # what older documents call a key is any of them
    return (*kinds, SessionKind.CUSTOM) if spot.place == "header" else kinds


def _extension(operation: Mapping[str, Any]) -> Security | None:
    """The ``x-auth-type`` family; None where there is none of it."""
    kind = operation.get("x-auth-type")
    if "x-auth-type" not in operation:
        marks = {"x-bearer-token-header": "bearer_token", "x-api-key-header": "api_key", "x-oauth2-scope": "oauth2"}
        found = [name for mark, name in marks.items() if isinstance(operation.get(mark), str)]
        found += ["basic_auth"] if operation.get("x-basic-auth") else []
        found += ["custom"] if isinstance(operation.get("x-custom-auth-headers"), Mapping) else []
        if not found or isinstance(operation.get("security"), list):
            return None
        kind = found[0]
    kind = str(kind).lower()
    header = operation.get("x-bearer-token-header")
    bearer = Spot(way="bearer", name=_header(header) or AUTHORIZATION)
    named = operation.get("x-api-key-header")
    key = Spot(way="key", name=_header(named))
    spots: dict[str, tuple[Spot, tuple[SessionKind, ...]]] = {
        "bearer_token": (bearer, (*_BEARING, SessionKind.CUSTOM)),
        "basic_auth": (Spot(way="basic"), (SessionKind.BASIC_AUTH, SessionKind.CUSTOM)),
        "api_key": (key, (SessionKind.API_KEY, *((SessionKind.CUSTOM,) if key.name else ()))),
        "oauth2": (bearer, (SessionKind.OAUTH2, SessionKind.BEARER_TOKEN, SessionKind.CUSTOM)),
        "custom": (Spot(way="all"), (SessionKind.CUSTOM,)),
    }
    spots["oauth2_client_credentials"] = spots["oauth2"]
    if kind not in spots:  # "none"; and what nobody knows is met by nothing
        return NONE
    spot, kinds = spots[kind]
    scopes = frozenset(_scopes(operation.get("x-oauth2-scope")))
    wanted = [Need(provider=SESSION, handler=handler_name(each), scopes=scopes) for each in kinds]
    given = operation.get("x-custom-auth-headers")
    static = given if isinstance(given, Mapping) else {}
    return Security(
        alternatives=(*((Bound(need, (spot,)),) for need in wanted), ()),
        static={str(name): value for name, value in static.items() if _is_static(name, value)},
        declared=(kind,),
    )


def _header(name: Any) -> str:
    """A header that may hold a credential: none of those that say where a request goes, or who sends it; else empty."""
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        return ""
    return name if name.lower() in KEY_HEADERS or sendable("header", name) else ""


def _is_static(name: Any, value: Any) -> bool:
    return isinstance(value, str) and bool(_header(name)) and bool(_VALUE.fullmatch(value))


def _scopes(given: Any) -> list[str]:
    if isinstance(given, str):
        return given.split()
    return [each for each in given if isinstance(each, str)] if isinstance(given, list) else []


def schemes_of(document: Document) -> Mapping[str, Any]:
    """The security schemes that a document has, by name."""
    components = document.get("components")
    schemes = components.get("securitySchemes") if isinstance(components, Mapping) else None
    return schemes if isinstance(schemes, Mapping) else {}


def reserved(document: Document) -> frozenset[tuple[str, str]]:
    """(place, name in lower case) of all that the document's security schemes fill: no argument goes there."""
    found: set[tuple[str, str]] = set()
    for each in schemes_of(document).values():
        try:
            spot = spot_of(resolve(document, each))
        except Unusable:
            continue
        if spot is not None and spot.way == "key":
            found.add((spot.place, spot.name.lower()))
        elif spot is not None and spot.way == "bearer":
            found.add(("query", "access_token"))  # RFC 6750 §2.3
    return frozenset(found)
