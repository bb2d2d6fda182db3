"""A provider from its TOML file: every key known, every value of its type, every error with file and key."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from valetkey.errors import InvalidSetting
from valetkey.providers.base import (
    ClientAuth,
    Endpoint,
    HandlerEntry,
    HandlerKind,
    OAuth2,
    PastedField,
    Provider,
    TokenFormat,
)
from valetkey.providers.catalog.files import NAME
from valetkey.providers.catalog.table import Table

SOURCES = frozenset({"authorization", "token", "refresh", "revocation", "scopes", "origins", "pasted"})
"""The groups of facts that a ``[source]`` table may name, each with the page it was read on."""

_HANDLER_NAME = re.compile(r"[a-z][a-z0-9-]*")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_FIELD_NAME = re.compile(r"[a-z][a-z0-9_]*")
_STANDARD_ERRORS = frozenset(
    {"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type"}
    | {"invalid_scope"}
)
_KINDS = (HandlerKind.OAUTH2, HandlerKind.TOKEN, HandlerKind.BASIC, HandlerKind.KEY_PAIR)


def load(path: Path, *, operator: bool) -> Provider:
    """Read and check one file; the provider's name is the file's.

    Args:
        path: a ``.toml`` file.
        operator: whether it is the user's own, whose endpoints are permission for their hosts.

    Raises:
        InvalidSetting: it cannot be read, or holds what a provider cannot have; names the file and the key.
    """
    where = path.name if not operator else f"{path.parent.name}/{path.name}"
    if not NAME.fullmatch(path.stem):
        raise InvalidSetting(f"{where}: a provider's file is named in lower case: letters, digits, underscores.")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as failure:
        raise InvalidSetting(f"{where} cannot be read: {failure.strerror}.") from None
    except ValueError as failure:  # TOMLDecodeError and UnicodeDecodeError
        raise InvalidSetting(f"{where} is no TOML: {failure}") from None
    return _provider(path.stem, Table(document, where, operator=operator))


def _provider(name: str, table: Table) -> Provider:
    title = table.text("title")
    docs = table.url("docs", "")
    origins = table.origins("origins")
    source = table.texts_by_name("source")
    for group, page in source.items():
        if group not in SOURCES:
            raise table.fault(f"source.{group}", f"is none of {', '.join(sorted(SOURCES))}")
        if not page.startswith("https://"):
            raise table.fault(f"source.{group}", "is not the https address of a page")
    handlers = tuple(_handler(handler_name, entry) for handler_name, entry in table.tables("handlers").items())
    table.end()
    defaults = sum(entry.default for entry in handlers)
    if defaults != 1:
        raise table.fault("handlers", f"has {defaults} with default = true; exactly one of them is the default")
    return Provider(name=name, title=title, handlers=handlers, origins=origins, docs=docs, source=source)


def _handler(name: str, table: Table) -> HandlerEntry:
    if not _HANDLER_NAME.fullmatch(name):
        raise table.fault("", "is no handler's name: lower-case letters, digits and hyphens")
    kind = table.choice("kind", _KINDS)
    oauth2_table = table.table("oauth2") if kind is HandlerKind.OAUTH2 else None
    fields = () if oauth2_table else tuple(_field(entry) for entry in table.list_of_tables("fields"))
    entry = HandlerEntry(
        name=name,
        kind=kind,
        default=table.boolean("default", default=False),
        scoped=table.boolean("scoped", default=oauth2_table is not None),
        description=table.text("description", ""),
        recommended_scopes=frozenset(table.texts("recommended_scopes")),
        variables=table.texts_by_name("variables"),
        oauth2=_oauth2(oauth2_table) if oauth2_table else None,
        fields=fields,
    )
    table.end()
    names = [field.name for field in fields]
    if len(names) != len(set(names)) or (oauth2_table is None and not names):
        raise table.fault("fields", "names each value that is pasted, once")
    if kind is HandlerKind.BASIC and not {"username", "password"} <= set(names):
        raise table.fault("fields", "has username and password for the kind basic")
    lent = {*names, "basic"} if kind is HandlerKind.BASIC else {*names} or {"access_token"}
    if not entry.variables:
        raise table.fault("variables", "is empty: a tool would get nothing")
    for variable, value in entry.variables.items():
        if not _VARIABLE.fullmatch(variable):
            raise table.fault(f"variables.{variable}", "is no variable's name: upper-case letters, digits, underscores")
        if value not in lent:
            raise table.fault(f"variables.{variable}", f"is none of {', '.join(sorted(lent))}")
    return entry


def _field(table: Table) -> PastedField:
    name = table.text("name")
    if not _FIELD_NAME.fullmatch(name):
        raise table.fault("name", "is no field's name: lower-case letters, digits, underscores")
    field = PastedField(name=name, label=table.text("label"), secret=table.boolean("secret", default=True))
    table.end()
    return field


def _oauth2(table: Table) -> OAuth2:
    defaults = OAuth2(authorize=Endpoint(""), token=Endpoint(""))
    revoke = table.endpoint("revoke", required=False)
    lifetime = table.number("lifetime", None)
    oauth2 = OAuth2(
        authorize=table.endpoint("authorize"),
        token=table.endpoint("token"),
        revoke=revoke if revoke.url else None,
        client_auth=table.choice("client_auth", tuple(ClientAuth), defaults.client_auth),
        revoke_client_auth=table.choice("revoke_client_auth", tuple(ClientAuth), None),
        revocation_ends_all=table.boolean("revocation_ends_all", default=False),
        pkce=table.boolean("pkce", default=defaults.pkce),
        scope_parameter=table.text("scope_parameter", defaults.scope_parameter),
        scope_separator=table.text("scope_separator", defaults.scope_separator),
        refresh_scopes=frozenset(table.texts("refresh_scopes")),
        granted_parameter=table.text("granted_parameter", defaults.granted_parameter),
        granted_separators=table.text("granted_separators", defaults.granted_separators),
        unasked_scopes=frozenset(table.texts("unasked_scopes")),
        scope_implies=table.sets_by_name("scope_implies"),
        scopes_may_widen=table.boolean("scopes_may_widen", default=False),
        authorize_parameters=table.texts_by_name("authorize_parameters"),
        token_parameters=table.texts_by_name("token_parameters"),
        refresh_parameters=table.texts_by_name("refresh_parameters"),
        token_format=table.choice("token_format", tuple(TokenFormat), defaults.token_format),
        token_headers=table.texts_by_name("token_headers"),
        answer_path=table.texts("answer_path"),
        success_field=table.text("success_field", ""),
        token_types=table.texts("token_types", defaults.token_types),
        error_codes=table.texts_by_name("error_codes"),
        lifetime=lifetime,
        issuer=table.url("issuer", ""),
        iss_in_callback=table.boolean("iss_in_callback", default=False),
    )
    table.end()
    if lifetime is not None and lifetime <= 0:
        raise table.fault("lifetime", "is not a number of seconds above 0")
    if oauth2.iss_in_callback and not oauth2.issuer:
        raise table.fault("iss_in_callback", "needs issuer: what would it be compared with?")
    for code, standard in oauth2.error_codes.items():
        if standard not in _STANDARD_ERRORS:
            raise table.fault(f"error_codes.{code}", "is no error of RFC 6749 §5.2")
    return oauth2
