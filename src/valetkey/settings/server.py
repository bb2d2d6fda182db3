"""The settings of a server: its own sections, and those that it shares with Pocket."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_network
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from valetkey.errors import InvalidSetting
from valetkey.identity.issuers import ALGORITHMS, TrustedIssuer
from valetkey.model.hosts import is_loopback
from valetkey.providers.endpoints import checked_origin, checked_url
from valetkey.settings.hypha import dialect
from valetkey.settings.pocket import Config
from valetkey.settings.sections import SERVER_NAMES, SERVER_TABLES, Identity, Prefix, Rate, Services, Serving
from valetkey.settings.sources import Sources, load
from valetkey.settings.values import read_value

SHORTEST_SECRET = 32
"""Bytes of an HMAC key (RFC 7518 §3.2)."""

SHORTEST_ROOT_TOKEN = 32

RESERVED = frozenset({"local", "anonymous", "custom", "valetkey"})
"""What no alias of an issuer may be: ids of our own begin so."""

AUTH0 = "auth0"
_AUTH0_KEYS = ("audience", "client_id", "domain", "issuer", "namespace")
_ALIAS = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_DOMAIN = re.compile(r"(\[[0-9a-f:]+\]|[a-z0-9]([a-z0-9.-]*[a-z0-9])?)(:[0-9]{1,5})?")
_VISIBLE = re.compile(r"[!-~]+")
_ISSUER_KEYS = tuple(each.name for each in fields(TrustedIssuer) if each.name not in ("alias", "trust"))
_T = TypeVar("_T", Identity, Serving, Services)


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Everything that a server is told.

    Attributes:
        config: what it shares with Pocket: database, vault, providers.
    """

    config: Config
    identity: Identity
    serving: Serving
    services: Services = field(default_factory=Services)


def load_server(
    folder: Path, environ: Mapping[str, str], *, options: bool = False, keywords: Mapping[str, Any] | None = None
) -> ServerSettings:
    """Read all sources, with the environment names of seed 004 among them.

    Args:
        folder: where ``.env`` and ``valetkey.toml`` are looked for.
        environ: is not written to.
        options: whether the environment stands for options of the command line, too (``--from-env``).
        keywords: go before all else; dotted names, or tables.

    Raises:
        InvalidSetting: something cannot be used; the text names it and its source.
    """
    sources = load(folder, environ, keywords, dialect=lambda names: dialect(names, options=options))
    _check_names(sources)
    return ServerSettings(
        config=Config(sources),
        identity=_identity(sources),
        serving=_serving(sources),
        services=Services(**_section(Services, "services", sources)),
    )


def _check_names(sources: Sources) -> None:
    for layer in sources.layers:
        for name in layer.values:
            table, _, key = name.partition(".")
            if f"{table}." not in SERVER_TABLES:
                continue
            if table == "issuers":
                alias, _, key = key.rpartition(".")
                known: tuple[str, ...] = _ISSUER_KEYS
                if not alias or "." in alias:
                    raise InvalidSetting(
                        f"{layer.source} has {name}, which is no table. Write [issuers.{key}] with issuer and"
                        " audiences below it."
                    )
            elif table == AUTH0:
                known = _AUTH0_KEYS
            else:
                known = tuple(each.partition(".")[2] for each in SERVER_NAMES if each.startswith(f"{table}."))
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f" Did you mean {near[0]}?" if near else ""
                raise InvalidSetting(
                    f"{layer.source} has the setting {name}, which is not known.{hint} Correct it or take it out."
                )


def _section(cls: type[_T], table: str, sources: Sources) -> dict[str, Any]:
    """The values of one section that any source has."""
    hints = get_type_hints(cls, include_extras=True)
    rates = get_type_hints(Rate, include_extras=True)
    found: dict[str, Any] = {}
    for each in fields(cls):
        default = each.default
        if isinstance(default, Rate):
            parts = {part: _value(sources, table, f"{each.name}.{part}", hint) for part, hint in rates.items()}
            given = {part: value for part, value in parts.items() if value is not None}
            found[each.name] = Rate(**{"per_second": default.per_second, "burst": default.burst, **given})
        elif each.name != "issuers":
            value = _value(sources, table, each.name, hints[each.name])
            if value is not None:
                found[each.name] = value
    return found


def _name(sources: Sources, table: str, name: str) -> str:
    """Of ``server.port`` and ``port`` the one that the stronger source has; of one source the longer."""
    return min((f"{table}.{name}", name), key=sources.rank)


def _value(sources: Sources, table: str, name: str, hint: Any) -> Any:
    named = _name(sources, table, name)
    value = sources.get(named)
    return None if value is None else read_value(hint, value, f"{named} ({sources.source_of(named)})")


def _identity(sources: Sources) -> Identity:
    values = _section(Identity, "identity", sources)
    secret, root = _text(sources, "jwt_secret"), _text(sources, "root_token")
    if secret is not None and len(secret.encode("utf-8", "surrogatepass")) < SHORTEST_SECRET:
        raise InvalidSetting(
            f"The setting jwt_secret (JWT_SECRET) is too short: an HS256 key has at least {SHORTEST_SECRET} bytes"
            " (RFC 7518 §3.2). Make one with: openssl rand -base64 48"
        )
    if root is not None and (len(root) < SHORTEST_ROOT_TOKEN or not _VISIBLE.fullmatch(root)):
        raise InvalidSetting(
            f"The setting root_token cannot be used: it has at least {SHORTEST_ROOT_TOKEN} characters, none of them"
            " a space. Make one with: openssl rand -hex 32"
        )
    if values.get("session_idle", 0) > values.get("session_lifetime", Identity().session_lifetime):
        raise InvalidSetting("The setting session_idle is longer than session_lifetime. Make it shorter.")
    outside = _auth0(sources)
    issuers = [*([] if outside is None else [outside]), *_issuers(sources)]
    twice = {each.issuer for each in issuers if [one.issuer for one in issuers].count(each.issuer) > 1}
    if twice:
        raise InvalidSetting(f"Two issuers of the settings have the same URL, {min(twice)}. Keep one of them.")
    for name in ("issuer", "audience", "namespace"):
        if name not in values:
            values[name] = str(sources.get(f"auth0.{name}") or "")
    if secret is None and values["issuer"] in {each.issuer for each in issuers}:
        values["issuer"] = ""  # what they sign and what we sign would not be told apart
    if values["namespace"]:
        values["namespace"] = _with_slash(values["namespace"])
    return Identity(**values, issuers=tuple(issuers))


def _text(sources: Sources, name: str) -> str | None:
    value = sources.get(_name(sources, "identity", name))
    return None if value is None else str(value)


def _auth0(sources: Sources) -> TrustedIssuer | None:
    """The tenant that ``AUTH0_*`` names (decision 20)."""
    domain = str(sources.get("auth0.domain") or "").lower()
    if not domain:
        return None
    if not _DOMAIN.fullmatch(domain):
        raise InvalidSetting(
            "The setting AUTH0_DOMAIN has to be a host name, such as your-tenant.auth0.com: no https://, no path."
        )
    audience = str(sources.get("auth0.audience") or "")
    if not audience:
        raise InvalidSetting(
            "AUTH0_DOMAIN is set, and AUTH0_AUDIENCE is not: without it any token of that tenant would be taken."
            " Set it to the audience of your API, such as https://your-tenant.auth0.com/api/v2/."
        )
    scheme = "http" if is_loopback(domain.rpartition(":")[0].strip("[]") or domain) else "https"
    return TrustedIssuer(
        alias=AUTH0,
        issuer=checked_url(f"{scheme}://{domain}/", "AUTH0_DOMAIN", operator=True),
        audiences=frozenset({audience}),
        algorithms=ALGORITHMS,
        namespace=_with_slash(str(sources.get("auth0.namespace") or "")),
        plain_ids=True,
        client_id=str(sources.get("auth0.client_id") or ""),
    )


def _with_slash(namespace: str) -> str:
    return namespace if not namespace or namespace.endswith("/") else f"{namespace}/"


def _issuers(sources: Sources) -> list[TrustedIssuer]:
    aliases = dict.fromkeys(name.split(".")[1] for name in sources.names() if name.startswith("issuers."))
    return [_issuer(alias, sources) for alias in aliases]


def _issuer(alias: str, sources: Sources) -> TrustedIssuer:
    where = f"issuers.{alias}"
    if not _ALIAS.fullmatch(alias) or alias in RESERVED or (alias == AUTH0 and sources.get("auth0.domain")):
        raise InvalidSetting(
            f"[{where}] cannot be used: an alias has lower-case letters, digits and hyphens, and is none of ours"
            f" ({', '.join(sorted(RESERVED))})."
        )
    hints = get_type_hints(TrustedIssuer, include_extras=True)
    given = sources.under(where)
    values = {
        name: read_value(hints[name], value, f"{where}.{name} ({sources.source_of(f'{where}.{name}')})")
        for name, value in given.items()
    }
    for name in ("issuer", "audiences"):
        if not values.get(name):
            raise InvalidSetting(f"[{where}] has no {name}. Without it nothing tells which tokens are meant for us.")
    algorithms = values.get("algorithms", frozenset({"RS256"}))
    if not algorithms or not algorithms <= ALGORITHMS:
        raise InvalidSetting(
            f"The setting {where}.algorithms cannot be used. Name those that the issuer signs with, of"
            f" {', '.join(sorted(ALGORITHMS))}; one with a shared secret, or none, is not taken."
        )
    templated = "{tid}" in values["issuer"]
    if templated != bool(values.get("tenants")):
        raise InvalidSetting(f"[{where}] needs both or neither: {{tid}} in issuer, and tenants that it may be.")
    for name in ("issuer", "jwks_url", "introspection_url"):
        if values.get(name):
            checked_url(values[name].replace("{tid}", "x"), f"The setting {where}.{name}", operator=True)
    if values.get("namespace"):
        values["namespace"] = _with_slash(values["namespace"])
    return TrustedIssuer(alias=alias, **values)


def _serving(sources: Sources) -> Serving:
    values = _section(Serving, "server", sources)
    if values.get("public_base_url"):
        values |= _address(values["public_base_url"], str(values.get("base_path", "")))
    if "base_path" in values:
        path = values["base_path"].strip("/")
        values["base_path"] = f"/{path}" if path else ""
    for origin in values.get("allow_origins", ()):
        if origin != "*":
            checked_origin(origin, f"The setting allow_origins ({origin!r})", operator=True)
    for proxy in values.get("trusted_proxies", ()):
        try:
            ip_network(proxy, strict=False)
        except ValueError:
            raise InvalidSetting(
                f"The setting trusted_proxies has {proxy!r}. Name addresses, or networks such as 10.0.0.0/8."
            ) from None
    if bool(values.get("tls_cert")) != bool(values.get("tls_key")):
        raise InvalidSetting("The settings tls_cert and tls_key belong together: set both, or none.")
    return Serving(**values)


def _address(url: str, base_path: str) -> dict[str, str]:
    """The origin of the public address, and the path that it has besides."""
    scheme, mark, rest = url.rstrip("/").partition("://")
    host, _, path = rest.partition("/")
    origin = f"{scheme}{mark}{host}"
    # http is taken elsewhere than on loopback, too; the start says what that means (decision 28).
    checked_origin(origin.replace("http://", "https://", 1), "The setting public_base_url", operator=True)
    if not path:
        return {"public_base_url": origin}
    if base_path.strip("/") not in ("", path):
        raise InvalidSetting("The settings public_base_url and base_path name two paths. Name it in one of them.")
    return {"public_base_url": origin, "base_path": read_value(Prefix, path, "public_base_url (its path)")}
