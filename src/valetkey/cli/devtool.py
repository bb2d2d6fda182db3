"""valetkey devtool: write what a provider, an auth handler or a tool of one's own begins with (seed 001)."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from valetkey.cli.output import plain, print_error

BAD_USAGE = 2
LONGEST = 64

devtool = App(name="devtool", help="Write what a provider or a tool of your own begins with.")

Into = Annotated[Path, Parameter(show_default=False, help="The project's folder; by default the current one.")]
WithHandler = Annotated[bool, Parameter(negative="", show_default=False)]
Force = Annotated[bool, Parameter(negative="", show_default=False, help="Write over files that are there.")]
Kind = Literal["oauth2", "token"]


@devtool.command(name="create-oauth2-auth-template")
def create_oauth2(name: str, /, *, into: Into = Path(), handler: WithHandler = False, force: Force = False) -> int:
    """Write a provider whose accounts are connected by OAuth 2.

    Parameters
    ----------
    name
        The provider's name: lower-case letters, digits and underscores, such as my_service.
    handler
        Write the auth handler as code of your own, too, for a service that does it in another way than the standard.
    """
    return _provider("oauth2", name, into, handler=handler, force=force)


@devtool.command(name="create-token-auth-template")
def create_token(name: str, /, *, into: Into = Path(), handler: WithHandler = False, force: Force = False) -> int:
    """Write a provider whose accounts are connected by a token that a person pastes.

    Parameters
    ----------
    name
        The provider's name: lower-case letters, digits and underscores, such as my_service.
    handler
        Write the auth handler as code of your own, too, with a page of its own.
    """
    return _provider("token", name, into, handler=handler, force=force)


@devtool.command(name="create-tool-template")
def create_tool(
    name: str,
    /,
    *,
    into: Into = Path(),
    provider: Annotated[str, Parameter(show_default=False)] = "",
    force: Force = False,
) -> int:
    """Write a tool as a folder that runs as a process of its own.

    Parameters
    ----------
    name
        The tool's name, and its folder's: lower-case letters, digits and underscores.
    provider
        Whose account it needs, such as slack or my_service; by default it needs none.
    """
    from valetkey.cli.devtool_tool import files

    fault = _fault(name, "tool")
    if fault:
        return _refused(fault)
    variable = ""
    if provider:
        from valetkey.providers.registry import Registry

        entry = Registry([into]).get(provider).default_handler
        variable = next(iter(entry.variables), f"{provider.upper()}_TOKEN")
    written = {Path(name) / file: text for file, text in files(name, provider, variable).items()}
    steps = [
        f"Try it alone: {into / name / 'README.md'} says how.",
        f'Use it: Pocket(tools=["./{(into / name).as_posix()}"])',
    ]
    return _write(into, written, steps, force=force)


def _provider(kind: Kind, name: str, into: Path, *, handler: bool, force: bool) -> int:
    from valetkey.cli.devtool_handler import FILES
    from valetkey.cli.devtool_tests import TESTS
    from valetkey.cli.devtool_texts import CUSTOM, OAUTH2, TOKEN
    from valetkey.providers.catalog.files import FOLDER
    from valetkey.providers.names import BUILTIN

    fault = _fault(name, "provider")
    if not fault and name in BUILTIN:
        fault = f"we ship a provider {name} already: take another name, or see valetkey providers show {name}."
    if fault:
        return _refused(fault)
    words = _words(name, kind)
    folder = Path(FOLDER)
    text = CUSTOM if handler else OAUTH2 if kind == "oauth2" else TOKEN
    written = {folder / f"{name}.toml": _filled(text, words)}
    if handler:
        written |= {folder / name / file: _filled(each, words) for file, each in FILES[kind].items()}
        written[Path("tests") / f"test_{name}.py"] = _filled(TESTS[kind], words)
    return _write(into, written, _steps(kind, name, into, handler=handler), force=force)


def _steps(kind: Kind, name: str, into: Path, *, handler: bool) -> list[str]:
    dashed = name.replace("_", "-")
    written = f"valetkey_providers/{name}"
    replace = (
        f"In {written}.toml, replace the addresses at {dashed.strip('-')}.example: docs, where a person reads\n"
        f"     how to get in, and origins, where tokens may be sent{'' if handler else '; and all others there'}."
    )
    if handler and kind == "oauth2":
        replace += f"\n     In {written}/oauth2_handler.py, replace AUTHORIZE_URL and TOKEN_URL."
    client = (
        f"Register a client at the service, with this redirect URI where nothing else is set:\n"
        f"     https://localhost:8001/proxy/auth/{name}/oauth2/callback\n"
        f"     Write what it gives you into {into / 'valetkey.toml'} (chmod 600):\n"
        f'       [auth.{name}]\n       client_id = "…"\n       client_secret = "…"'
    )
    use = (
        f"In code: @function_tool(auth_provider=AuthProvider.{name.upper()}) on def my_tool(**kwargs); it reads\n"
        f'     kwargs["{name.upper()}_TOKEN"]. In the config.toml of a tool folder:\n'
        f'       [auth]\n       auth_provider = "{name}"\n       auth_handler = "{dashed}-{kind}"\n       scopes = []'
    )
    test = [f"Run its test: python -m pytest {into / 'tests' / f'test_{name}.py'}"] if handler else []
    return [replace, *([client] if kind == "oauth2" else []), use, *test]


def _words(name: str, kind: Kind) -> dict[str, str]:
    dashed = name.replace("_", "-")
    return {
        "name": name,
        "NAME": name.upper(),
        "dashed": dashed,
        "host": f"{dashed.strip('-')}.example",
        "Title": name.replace("_", " ").strip().capitalize(),
        "Class": "".join(part.capitalize() for part in name.split("_")),
        "VARIABLE": f"{name.upper()}_TOKEN",
        "kind": kind,
        "Kind": "OAuth2" if kind == "oauth2" else "Token",
        "scoped": "true" if kind == "oauth2" else "false",
    }


def _filled(text: str, words: Mapping[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text


def _fault(name: str, what: str) -> str:
    from valetkey.providers.catalog.files import NAME

    if not NAME.fullmatch(name) or len(name) > LONGEST:
        return f"{plain(name)[:80]!r} is no name for a {what}: lower-case letters, digits, underscores; a letter first."
    if keyword.iskeyword(name):
        return f"{name} is a word of Python's own: take another name."
    return ""


def _refused(fault: str) -> int:
    print_error(fault)
    return BAD_USAGE


def _write(into: Path, files: Mapping[Path, str], steps: list[str], *, force: bool) -> int:
    there = next((path for file in files if (path := into / file).exists() or path.is_symlink()), None)
    if there is not None and not force:
        return _refused(f"{there} is there already: take another name, or write over it with --force.")
    for file, text in files.items():
        path = into / file
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_symlink():
                path.unlink()  # what it leads to is not ours to write
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            return _refused(f"{path} cannot be written: {error.strerror}.")
        print(f"wrote {path}")
    print("\nWhat comes next:")
    for number, step in enumerate(steps, start=1):
        print(f"  {number}. {step}")
    return 0
