"""valetkey providers: which services can be connected, and how."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from valetkey.cli.output import plain, print_json, print_table

if TYPE_CHECKING:
    from valetkey.providers.base import HandlerEntry, Provider
    from valetkey.providers.registry import Registry

BUILT_IN = "built-in"


def list_providers(*, as_json: bool) -> None:
    """Print every provider: ours, and those of the project in the current folder.

    Raises:
        InvalidSetting: a file of the project cannot be used.
    """
    registry, files = _registry()
    rows = [_row(registry.get(name), files) for name in registry.names()]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("name", "title", "connected by", "tools read"),
        ((row["name"], row["title"], _ways(row), ", ".join(row["variables"])) for row in rows),
    )


def show_provider(name: str, *, as_json: bool) -> None:
    """Print one provider with all that its handlers do.

    Raises:
        UnknownProvider: there is none of that name; the text names the nearest.
    """
    registry, files = _registry()
    provider = registry.get(name.strip().lower())
    row = _row(provider, files)
    row["handlers"] = [
        {**short, **_details(entry)} for short, entry in zip(row["handlers"], provider.handlers, strict=True)
    ]
    row |= {"origins": sorted(provider.origins), "docs": provider.docs, "facts": dict(provider.source)}
    if as_json:
        print_json(row)
    else:
        _print_provider(row)


def _registry() -> tuple[Registry, dict[str, str]]:
    """All providers, and the files of those that are the project's own."""
    from valetkey.providers.catalog.files import project_files
    from valetkey.providers.registry import Registry
    from valetkey.settings.pocket import Config

    folders = Config.load(Path.cwd(), os.environ).general.provider_paths or ("",)
    files = project_files(Path(folder) for folder in folders)
    return Registry(folders), {path.stem: str(path) for path in files}


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


def _ways(row: Mapping[str, Any]) -> str:
    """The handlers, the default one first."""
    ordered = sorted(row["handlers"], key=lambda handler: not handler["default"])
    return ", ".join(handler["name"] for handler in ordered)


def _details(entry: HandlerEntry) -> dict[str, Any]:
    details: dict[str, Any] = {
        "variables": dict(entry.variables),
        "recommended_scopes": sorted(entry.recommended_scopes),
        "fields": [{"name": field.name, "label": field.label, "secret": field.secret} for field in entry.fields],
    }
    if entry.oauth2 is not None:
        revoke = entry.oauth2.revoke
        details |= {
            "authorize_url": entry.oauth2.authorize.url,
            "token_url": entry.oauth2.token.url,
            "revoke_url": None if revoke is None else revoke.url,
            "client_auth": entry.oauth2.client_auth.value,
            "pkce": entry.oauth2.pkce,
        }
    return details


def _print_provider(row: Mapping[str, Any]) -> None:
    _print_lines(
        f"{row['title']} ({row['name']})",
        {"source": row["source"], "origins": row["origins"], "docs": row["docs"]},
    )
    for handler in row["handlers"]:
        default = ", the default" if handler["default"] else ""
        rows = {name: value for name, value in handler.items() if name not in ("name", "kind", "default")}
        rows["fields"] = [field["label"] for field in handler["fields"]]
        _print_lines(f"\n{handler['name']} ({handler['kind']}{default})", rows)


def _print_lines(heading: str, values: Mapping[str, Any]) -> None:
    print(plain(heading))
    for name, value in values.items():
        if value in (None, "", [], {}):
            continue
        text = ", ".join(value) if isinstance(value, list | dict) else {True: "yes", False: "no"}.get(value, value)
        print(f"  {name.replace('_', ' '):<20}{plain(str(text))}")
