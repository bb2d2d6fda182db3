"""A provider from its TOML file: every key known, every value of its type, every error with file and key."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from valetkey.errors import InvalidSetting
from valetkey.providers.base import (
    BEARER,
    HandlerEntry,
    HandlerKind,
    OwnClass,
    PastedField,
    Placement,
    Provider,
    Userinfo,
)
from valetkey.providers.catalog.files import NAME
from valetkey.providers.catalog.oauth2 import by_issuer, read_oauth2
from valetkey.providers.catalog.table import Table

SOURCES = frozenset(
    {"authorization", "token", "refresh", "revocation", "scopes", "origins", "pasted", "userinfo", "device"}
)
"""The groups of facts that a ``[source]`` table may name.

Each with where the fact can be read: a page of the provider, or the file of a free package or repository that has it,
such as ``npm:grant@5.4.24 config/oauth.json``. A group without a line was seen in none of them: ask ``docs``.
"""

_HANDLER_NAME = re.compile(r"[a-z][a-z0-9-]*")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_FIELD_NAME = re.compile(r"[a-z][a-z0-9_]*")
_SOURCE = re.compile(r"https://\S+|(npm|pypi|github):\S+( \S+)?")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_PREFIX = re.compile(r"([!-~]+( [!-~]+)* ?)?")  # PagerDuty's is "Token token="
_PAIR = re.compile(r"([!-9;-z|~]*:)?\{token\}(:[!-z|~]*)?")
_PARAMETER = re.compile(r"[A-Za-z0-9_.~-]+")
_CLASS = re.compile(r"([a-z][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)*):([A-Za-z_][A-Za-z0-9_]*)")
_GRANTS = (
    HandlerKind.OAUTH2,
    HandlerKind.DEVICE,
    HandlerKind.CLIENT_CREDENTIALS,
    HandlerKind.TOKEN_EXCHANGE,
    HandlerKind.SERVICE_ACCOUNT,
)
_KINDS = (*_GRANTS, HandlerKind.TOKEN, HandlerKind.BASIC, HandlerKind.KEY_PAIR)


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
    own = str(path.parent.absolute()) if operator else ""
    return _provider(path.stem, Table(document, where, operator=operator), own)


def _provider(name: str, table: Table, own: str) -> Provider:
    title = table.text("title")
    docs = table.url("docs", "")
    origins = table.origins("origins")
    source = table.texts_by_name("source")
    for group, page in source.items():
        if group not in SOURCES:
            raise table.fault(f"source.{group}", f"is none of {', '.join(sorted(SOURCES))}")
        if not _SOURCE.fullmatch(page):
            raise table.fault(f"source.{group}", "is neither the https address of a page nor npm:, pypi: or github:")
    issuer = table.url("issuer", "")
    if issuer:
        table.end()
        return by_issuer(name, issuer, title=title, docs=docs, origins=origins, operator=bool(own))
    handlers = tuple(_handler(handler_name, entry, own) for handler_name, entry in table.tables("handlers").items())
    table.end()
    defaults = sum(entry.default for entry in handlers)
    if defaults != 1:
        raise table.fault("handlers", f"has {defaults} with default = true; exactly one of them is the default")
    return Provider(name=name, title=title, handlers=handlers, origins=origins, docs=docs, source=source)


def _handler(name: str, table: Table, own: str) -> HandlerEntry:
    if not _HANDLER_NAME.fullmatch(name):
        raise table.fault("", "is no handler's name: lower-case letters, digits and hyphens")
    kind = table.choice("kind", (*_KINDS, HandlerKind.CUSTOM) if own else _KINDS)
    if kind is HandlerKind.CUSTOM:
        return _own(name, table, own)
    oauth2_table = table.table("oauth2") if kind in _GRANTS else None
    fields = () if oauth2_table else tuple(_field(entry) for entry in table.list_of_tables("fields"))
    entry = HandlerEntry(
        name=name,
        kind=kind,
        default=table.boolean("default", default=False),
        scoped=table.boolean("scoped", default=oauth2_table is not None),
        description=table.text("description", ""),
        recommended_scopes=frozenset(table.texts("recommended_scopes")),
        variables=table.texts_by_name("variables"),
        oauth2=read_oauth2(oauth2_table, kind) if oauth2_table else None,
        fields=fields,
        placement=_placement(placed) if (placed := table.table_if("placement")) else BEARER,
        userinfo=_userinfo(asked) if (asked := table.table_if("userinfo")) else None,
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


def _own(name: str, table: Table, folder: str) -> HandlerEntry:
    found = _CLASS.fullmatch(table.text("handler"))
    if found is None:
        raise table.fault("handler", "names no class: such as my_service.handler:MyServiceAuthHandler")
    entry = HandlerEntry(
        name=name,
        kind=HandlerKind.CUSTOM,
        default=table.boolean("default", default=False),
        scoped=table.boolean("scoped", default=False),
        description=table.text("description", ""),
        handler=OwnClass(folder=folder, module=found[1], name=found[2]),
    )
    table.end()
    return entry


def _placement(table: Table) -> Placement:
    query, pair = table.text("query", ""), table.text("pair", "")
    header = table.text("header", "" if query else BEARER.header)
    usual = "Basic " if pair else BEARER.prefix
    prefix = table.text("prefix", usual if header == BEARER.header else "")
    table.end()
    if bool(query) == bool(header):
        raise table.fault("query", "stands instead of header, not beside it")
    if query and not _PARAMETER.fullmatch(query):
        raise table.fault("query", "is no query parameter's name")
    if header and not _HEADER.fullmatch(header):
        raise table.fault("header", "is no header's name")
    if not _PREFIX.fullmatch(prefix) or (query and prefix):
        raise table.fault("prefix", "is a word and a space before a token in a header")
    if pair and (query or pair.count(":") != 1 or not _PAIR.fullmatch(pair)):
        raise table.fault("pair", "is a user name, a colon and a password, one of them {token}, for a header")
    return Placement(header=header, prefix=prefix, query=query, pair=pair)


def _userinfo(table: Table) -> Userinfo:
    method = table.choice("method", ("GET", "POST"), "GET")
    userinfo = Userinfo(
        url=table.endpoint("url"),
        method=method,
        headers=table.texts_by_name("headers"),
        body=table.text("body", ""),
        account=table.texts("account"),
        subject=table.text("subject", ""),
        success_field=table.text("success_field", ""),
        header_account=table.text("header_account", ""),
    )
    table.end()
    if userinfo.body and method != "POST":
        raise table.fault("body", "is for the method POST")
    for name in userinfo.headers:
        if not _HEADER.fullmatch(name):
            raise table.fault(f"headers.{name}", "is no header's name")
    return userinfo


def _field(table: Table) -> PastedField:
    name = table.text("name")
    if not _FIELD_NAME.fullmatch(name):
        raise table.fault("name", "is no field's name: lower-case letters, digits, underscores")
    field = PastedField(name=name, label=table.text("label"), secret=table.boolean("secret", default=True))
    table.end()
    return field
