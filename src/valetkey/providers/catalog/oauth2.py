"""The OAuth 2 part of a provider's file."""

from __future__ import annotations

from valetkey.providers.base import (
    ClientAuth,
    Endpoint,
    ExchangeDialect,
    HandlerEntry,
    HandlerKind,
    OAuth2,
    Provider,
    TokenFormat,
)
from valetkey.providers.catalog.table import Table
from valetkey.providers.endpoints import origin_of

_STANDARD_ERRORS = frozenset(
    {"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type"}
    | {"invalid_scope"}
)


def read_oauth2(table: Table, kind: HandlerKind) -> OAuth2:
    """The ``oauth2`` table of a handler of that kind.

    Raises:
        InvalidSetting: a key is missing, unknown, or of a wrong value; names it.
    """
    issuer = table.url("issuer", "")
    # What is not written down is left to the issuer's metadata, where there is one.
    person = kind is HandlerKind.OAUTH2
    authorize = table.endpoint("authorize", required=person and not issuer)
    token = table.endpoint("token", required=not issuer)
    discovered = bool(issuer) and not (token.url and (authorize.url or not person))
    defaults = OAuth2(authorize=Endpoint(""), token=Endpoint(""))
    lifetime = table.number("lifetime", None)
    oauth2 = OAuth2(
        authorize=authorize,
        token=token,
        revoke=_optional(table, "revoke"),
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
        issuer=issuer,
        iss_in_callback=table.boolean("iss_in_callback", default=False),
        refresh=_optional(table, "refresh"),
        device=_optional(table, "device"),
        par=_optional(table, "par"),
        registration=_optional(table, "registration"),
        dpop=table.boolean("dpop", default=False),
        exchange=table.choice("exchange", tuple(ExchangeDialect), defaults.exchange),
        assertion_audience=table.text("assertion_audience", ""),
        discovered=table.boolean("discovered", default=discovered),
    )
    table.end()
    if lifetime is not None and lifetime <= 0:
        raise table.fault("lifetime", "is not a number of seconds above 0")
    if oauth2.discovered and not issuer:
        raise table.fault("discovered", "needs issuer: whose metadata is asked for?")
    if kind is HandlerKind.DEVICE and oauth2.device is None and not oauth2.discovered:
        raise table.fault("device", "is missing: where does a device ask (RFC 8628 §3.1)?")
    if oauth2.iss_in_callback and not oauth2.issuer:
        raise table.fault("iss_in_callback", "needs issuer: what would it be compared with?")
    for code, standard in oauth2.error_codes.items():
        if standard not in _STANDARD_ERRORS:
            raise table.fault(f"error_codes.{code}", "is no error of RFC 6749 §5.2")
    return oauth2


def by_issuer(name: str, issuer: str, *, title: str, docs: str, origins: frozenset[str], operator: bool) -> Provider:
    """A provider of whom a file says no more than its issuer: what it is, its metadata says (RFC 8414)."""
    empty = Endpoint("", operator=operator)
    entry = HandlerEntry(
        name=f"{name.replace('_', '-')}-oauth2",
        kind=HandlerKind.OAUTH2,
        default=True,
        scoped=True,
        variables={f"{name.upper()}_TOKEN": "access_token"},
        oauth2=OAuth2(authorize=empty, token=empty, issuer=issuer, discovered=True),
    )
    return Provider(name=name, title=title, handlers=(entry,), origins=origins | {origin_of(issuer)}, docs=docs)


def _optional(table: Table, key: str) -> Endpoint | None:
    endpoint = table.endpoint(key, required=False)
    return endpoint if endpoint.url else None
