"""valetkey providers: which services can be connected, and how."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from valetkey.cli.output import plain, print_json, print_table

if TYPE_CHECKING:
    from valetkey.providers.base import HandlerEntry, OAuth2, Provider
    from valetkey.providers.registry import Registry

BUILT_IN = "built-in"

_GRANTED = {
    "device": "a code that the person enters elsewhere (RFC 8628)",
    "client-credentials": "the program's own account (RFC 6749 §4.4)",
    "token-exchange": "on behalf of the caller (RFC 8693)",
    "service-account": "a signed assertion (RFC 7523)",
}


def list_providers(word: str = "", *, as_json: bool) -> None:
    """Print every provider, ours and those of the project in the current folder; or those that a word is in.

    Raises:
        InvalidSetting: a file of the project cannot be used.
        UnknownProvider: the word is in none; not with ``as_json``, where that is an empty list.
    """
    from valetkey.errors import UnknownProvider
    from valetkey.providers.names import nearest, shown

    registry, files = _registry()
    found = [provider for provider in map(registry.get, registry.names()) if _has(provider, word)]
    if as_json:
        print_json([_row(provider, files) for provider in found])
        return
    if not found:
        raise UnknownProvider(
            f"There is no provider with {shown(word)} in its name, title or handlers.{nearest(word, registry.names())} "
            "`valetkey providers list` has them all; `valetkey devtool create-oauth2-auth-template NAME`, or "
            "create-token-auth-template, begins one of your own."
        )
    rows = ((_row(provider, files), _handlers(provider)) for provider in found)
    print_table(
        ("name", "title", "connected by", "tools read"),
        ((row["name"], row["title"], ", ".join(names), ", ".join(row["variables"])) for row, names in rows),
    )


def show_provider(name: str, *, as_json: bool) -> None:
    """Print one provider with all that its handlers do; it may be named by one of them.

    Raises:
        UnknownProvider: there is none of that name; the text names the nearest.
    """
    registry, files = _registry()
    provider = _found(registry, name.strip().lower())
    row = _row(provider, files)
    row["handlers"] = [
        {**short, **_details(entry, provider.name)}
        for short, entry in zip(row["handlers"], provider.handlers, strict=True)
    ]
    row |= {
        "origins": sorted(provider.origins),
        "docs": provider.docs,
        "settings": _settings(provider),
        "further": _further(provider),
        "facts": dict(provider.source),
    }
    if as_json:
        print_json(row)
    else:
        _print_provider(row)


def _found(registry: Registry, name: str) -> Provider:
    from valetkey.errors import UnknownProvider

    try:
        return registry.get(name)
    except UnknownProvider:
        with suppress(UnknownProvider):
            return registry.find_handler(name)[0]
        raise


def _registry() -> tuple[Registry, dict[str, str]]:
    """All providers, and the files of those that are the project's own."""
    from valetkey.providers.catalog.files import project_files
    from valetkey.providers.registry import Registry
    from valetkey.settings.pocket import Config

    folders = Config.load(Path.cwd(), os.environ).general.provider_paths or ("",)
    files = project_files(Path(folder) for folder in folders)
    return Registry(folders), {path.stem: str(path) for path in files}


def _has(provider: Provider, word: str) -> bool:
    wanted = word.strip().lower().replace("_", "-")
    texts = (provider.name, provider.title, *_handlers(provider))
    return any(wanted in text.lower().replace("_", "-") for text in texts)


def _row(provider: Provider, files: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": provider.name,
        "title": provider.title,
        "handlers": [
            {"name": entry.name, "kind": entry.kind.value, "default": entry.default} for entry in provider.handlers
        ],
        "variables": sorted({name for entry in provider.handlers for name in entry.variables}),
        "source": files.get(provider.name, BUILT_IN),
    }


def _handlers(provider: Provider) -> list[str]:
    """The default handler's name, those of the others, and the device grant's where the entry says where to ask."""
    ordered = sorted(provider.handlers, key=lambda entry: not entry.default)
    return [*(entry.name for entry in ordered), *(name for name in _further(provider) if name.endswith("-device"))]


def _further(provider: Provider) -> dict[str, str]:
    """The handlers that may be named besides, each with what it is: other grants of its OAuth 2 one."""
    stem, own = provider.name.replace("_", "-"), {entry.name for entry in provider.handlers}
    names = ((f"{stem}-{ending}", text) for ending, text in _GRANTED.items())
    return {name: text for name, text in names if name not in own and provider.handler(name) is not None}


def _urls(oauth2: OAuth2) -> dict[str, str]:
    """The endpoints that are written down, each by its name in settings."""
    ends = {
        "issuer": oauth2.issuer,
        "authorize_url": oauth2.authorize.url,
        "token_url": oauth2.token.url,
        "refresh_url": "" if oauth2.refresh is None else oauth2.refresh.url,
        "revoke_url": "" if oauth2.revoke is None else oauth2.revoke.url,
        "device_url": "" if oauth2.device is None else oauth2.device.url,
        "par_url": "" if oauth2.par is None else oauth2.par.url,
        "registration_url": "" if oauth2.registration is None else oauth2.registration.url,
    }
    return {name: url for name, url in ends.items() if url}


def _settings(provider: Provider) -> list[str]:
    """What has to be in ``[auth.<provider>]`` before somebody can be connected by OAuth 2."""
    from valetkey.providers.base import ClientAuth
    from valetkey.providers.endpoints import PLACEHOLDER

    needed: dict[str, None] = {}
    urls = [*sorted(provider.origins)]
    for entry in provider.handlers:
        urls += [entry.userinfo.url.url] if entry.userinfo else []
        if entry.oauth2 is not None:
            urls += _urls(entry.oauth2).values()
            proof = {ClientAuth.NONE: "", ClientAuth.PRIVATE_KEY_JWT: "private_key"}
            needed |= dict.fromkeys(("client_id", proof.get(entry.oauth2.client_auth, "client_secret")))
    needed |= dict.fromkeys(name for url in urls for name in PLACEHOLDER.findall(url))
    return [name for name in needed if name]


def _details(entry: HandlerEntry, provider: str) -> dict[str, Any]:
    from valetkey.providers.base import HandlerKind

    where = {HandlerKind.BASIC: "Authorization: Basic …", HandlerKind.KEY_PAIR: ""}.get(entry.kind, _place(entry))
    details: dict[str, Any] = {
        "description": entry.description,
        **({"class": f"{entry.handler.module}:{entry.handler.name}"} if entry.handler else {}),
        "variables": _variables(entry, provider),
        "recommended_scopes": sorted(entry.recommended_scopes),
        "fields": [{"name": field.name, "label": field.label, "secret": field.secret} for field in entry.fields],
    }
    if entry.oauth2 is not None:
        oauth2 = entry.oauth2
        details |= _urls(oauth2) | ({} if oauth2.revoke else {"revoke_url": None})
        details |= {
            "discovered": oauth2.discovered,
            "client_auth": oauth2.client_auth.value,
            "pkce": oauth2.pkce,
            "scope_parameter": oauth2.scope_parameter,
            "scope_separator": oauth2.scope_separator,
            "refresh_scopes": sorted(oauth2.refresh_scopes),
            "authorize_parameters": dict(oauth2.authorize_parameters),
            "token_format": oauth2.token_format.value,
        }
    details |= {"placement": where, "userinfo_url": entry.userinfo.url.url if entry.userinfo else ""}
    return details


def _variables(entry: HandlerEntry, provider: str) -> dict[str, str]:
    """What tools read; of a class of the project's own, what they read unless its context has names of its own."""
    own = {f"{provider.upper()}_TOKEN": "access_token"} if entry.handler else {}
    return dict(entry.variables) or own


def _place(entry: HandlerEntry) -> str:
    put = entry.placement
    token = f"base64({put.pair.format(token='<token>')})" if put.pair else "<token>"
    return f"?{put.query}={token}" if put.query else f"{put.header}: {put.prefix}{token}"


def _print_provider(row: Mapping[str, Any]) -> None:
    where = "" if row["source"] == BUILT_IN else row["source"]
    settings = ", ".join(row["settings"])
    own = any("class" in handler for handler in row["handlers"])
    none = f"those of [auth.{row['name']}] that its class reads" if own else "none needed"
    _print_lines(
        f"{row['title']} ({row['name']}{f', {where}' if where else ''})",
        {
            "API": row["origins"],
            "register at": row["docs"],
            "settings": f"[auth.{row['name']}] {settings}" if settings else none,
        },
    )
    for handler in row["handlers"]:
        default = ", the default" if handler["default"] else ""
        _print_lines(f"\n{handler['name']} ({handler['kind']}{default})", dict(_shown(handler)))
    if row["further"]:
        _print_lines("\nFurther handlers that may be named, where the provider allows them", row["further"])
    pages: dict[str, list[str]] = {}
    for group, page in row["facts"].items():
        pages.setdefault(page, []).append(group)
    if pages:
        print("\nWhere these facts can be read")
    for page, groups in pages.items():
        print(f"  {plain(page)}\n    {plain(', '.join(groups))}")


def _shown(handler: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The lines of a handler, in the order in which a newcomer asks."""
    yield "what it is", handler["description"]
    yield "class", handler.get("class")
    yield "tools read", handler["variables"]
    yield "person pastes", [field["label"] for field in handler["fields"]]
    for name, url in handler.items():
        if name == "issuer" or (name.endswith("_url") and name != "userinfo_url"):
            yield name.replace("_", " "), url
    if "client_auth" in handler:
        yield "endpoints", "what is not here, the issuer's metadata names" if handler["discovered"] else ""
        yield "client auth", handler["client_auth"]
        yield "PKCE", handler["pkce"]
        yield "scopes", _scopes(handler)
        yield "sent besides", [f"{name}={value}" for name, value in handler["authorize_parameters"].items()]
        yield "token request", "JSON" if handler["token_format"] == "json" else ""
    yield "recommended", handler["recommended_scopes"]
    yield "token goes into", handler["placement"]
    yield "whose it is", handler["userinfo_url"]


def _scopes(handler: Mapping[str, Any]) -> str:
    if not handler["scope_parameter"]:
        return "none are sent"
    joined = {" ": "spaces", ",": "commas"}.get(handler["scope_separator"], repr(handler["scope_separator"]))
    always = f"; for a refresh token also {', '.join(handler['refresh_scopes'])}" if handler["refresh_scopes"] else ""
    named = "" if handler["scope_parameter"] == "scope" else f" in {handler['scope_parameter']}"
    return f"joined by {joined}{named}{always}"


def _print_lines(heading: str, values: Mapping[str, Any]) -> None:
    print(plain(heading))
    wide = max(18, *(len(name) + 2 for name in values))
    for name, value in values.items():
        if value in (None, "", [], {}):
            continue
        text = ", ".join(value) if isinstance(value, list | dict) else {True: "yes", False: "no"}.get(value, value)
        print(f"  {name:<{wide}}{plain(str(text))}")
