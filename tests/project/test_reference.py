"""The pages say what is there: names, settings, errors, commands, links; and their files work as a reader has them."""

import dataclasses
import functools
import os
import re
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest

import valetkey
from tests.ports import free_port
from tools import reference
from valetkey import errors
from valetkey.connections.states import AuthState
from valetkey.oauth.clients import ClientSettings
from valetkey.providers.base import HandlerEntry, OAuth2, Provider
from valetkey.providers.catalog.load import load
from valetkey.settings.pocket import KNOWN, Config
from valetkey.settings.policy import read_rules
from valetkey.settings.sections import SERVER_NAMES, Callbacks, General, Identity, Rate, Services, Serving, Session
from valetkey.settings.server import load_server
from valetkey.settings.sources import Layer as SourceLayer
from valetkey.settings.sources import Sources, flatten

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), ROOT / "examples" / "README.md", *sorted(DOCS.glob("*.md"))]
FILE = re.compile(
    r"<!-- (?:not run: as the file|file:) ([\w./]+)[ ,].*?-->\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE
)
INVITATION = "User needs to authenticate using the following URL: "
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the table that begins with that heading, without its head."""
    lines = text[text.index(f"\n| {heading}") + 1 :].splitlines()
    table = lines[: next((number for number, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in table[2:]]


def code(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize(
    ("name", "mark", "made"),
    [
        ("accounts.md", "states", reference.states),
        ("providers.md", "catalogue", reference.catalogue),
        ("cli.md", "help", reference.command_help),
    ],
)
def test_what_is_made_from_the_code_has_not_drifted(name, mark, made):
    begin, end = f"<!-- {mark}: begin -->\n", f"\n<!-- {mark}: end -->"
    held = page(name).partition(begin)[2].partition(end)[0]
    assert held == made(), "run: python -m tools.reference --write"


def test_every_public_name_has_its_place():
    named = [name for row in rows(page("names.md"), "name") for name in code(row[0])]
    assert sorted(named) == sorted(valetkey.__all__)


@pytest.mark.requirement("d.errors-identity")
def test_every_error_is_explained_as_it_is():
    told = {}
    for name, base, error_code, http, close, status, advice in rows(page("errors.md"), "class"):
        told[code(name)[0]] = (base.strip("`"), code(error_code)[0], int(http), int(close), int(status))
        assert advice
    known = {}
    for cls, look in errors.RENDERINGS.items():
        builtin = [base for base in cls.__bases__ if not issubclass(base, errors.ValetkeyError)]
        builtin = [base for base in builtin if base is not Exception]
        shown = "".join("asyncio.TimeoutError" if cls is errors.AuthExpired else base.__name__ for base in builtin)
        known[cls.__name__] = (shown, cls.code, look.http, look.close, look.exit)
    assert told == known


def test_every_setting_is_explained_with_its_default():
    told = {code(name)[0]: default for name, default, _ in rows(page("settings.md"), "setting")}
    assert set(told) == set(KNOWN)
    sections = (Callbacks, Session, General)
    defaults = {field.name: field.default for section in sections for field in dataclasses.fields(section)}
    for name, field in KNOWN.items():
        default = defaults.get(field)
        if isinstance(default, bool):
            assert told[name] == f"`{str(default).lower()}`"
        elif isinstance(default, int):
            assert told[name] == f"`{default}`"
        elif isinstance(default, str):
            assert told[name] == f'`"{default}"`'


def test_every_setting_of_a_provider_is_explained():
    text = page("settings.md").partition("## Of a provider")[2]
    told = {name for row in rows(text, "setting") for name in code(row[0])}
    assert told == {field.name for field in dataclasses.fields(ClientSettings)} - {"values"}


def test_every_setting_of_the_server_is_explained_with_its_default():
    told = {}
    for names, defaults, _ in rows(page("server.md"), "setting"):
        shown = code(defaults)
        for number, name in enumerate(code(names)):
            told[name] = shown[number] if len(shown) == len(code(names)) else defaults
    assert set(told) == {name for name in SERVER_NAMES if name.partition(".")[0] in ("server", "identity")} | {
        "issuers.<alias>",
        "policy.rules",
    }
    for table, section in (("server", Serving), ("identity", Identity)):
        for field in dataclasses.fields(section):
            default = field.default
            for part in dataclasses.fields(Rate) if isinstance(default, Rate) else ():
                assert float(told[f"{table}.{field.name}.{part.name}"]) == getattr(default, part.name)
            if isinstance(default, bool):
                assert told[f"{table}.{field.name}"] == str(default).lower()
            elif isinstance(default, int | float):
                assert float(told[f"{table}.{field.name}"]) == default
            elif isinstance(default, str) and default:
                assert told[f"{table}.{field.name}"].strip("`") == default


def test_every_setting_of_services_is_explained_with_its_default():
    told: dict[str, str] = {}
    for names, defaults, _ in rows(page("services.md"), "setting"):
        told |= dict(zip(code(names), code(defaults), strict=True))
    assert set(told) == {name for name in SERVER_NAMES if name.startswith("services.")}
    for field in dataclasses.fields(Services):
        default = field.default
        for part in dataclasses.fields(Rate) if isinstance(default, Rate) else ():
            assert float(told[f"services.{field.name}.{part.name}"]) == getattr(default, part.name)
        if isinstance(default, int | float):
            assert float(told[f"services.{field.name}"]) == default


def test_every_key_of_a_providers_file_is_explained():
    text = page("providers.md").partition("## A provider in your project")[2]
    told = {name for row in rows(text, "key | is |\n") for name in code(row[0])}
    entry = {field.name for field in dataclasses.fields(HandlerEntry)} - {"name", "oauth2"}
    whole = {field.name for field in dataclasses.fields(Provider)} - {"name", "handlers"}
    assert {name.removeprefix("handlers.<name>.") for name in told} == entry | whole
    spoken = {name for row in rows(text, "key | is | by default") for name in code(row[0])}
    assert spoken == {field.name for field in dataclasses.fields(OAuth2)}


def test_the_six_states_are_explained():
    text = page("accounts.md")
    assert {code(row[-1])[0] for row in rows(text, "the account there is")} == set(AuthState.__members__)
    assert {name for row in rows(text, "state |") for name in code(row[0])} == set(AuthState.__members__)


def test_every_variable_of_ours_that_is_named_is_one():
    for path in PAGES:
        for name in re.findall(r"\b(?:VALETKEY|POCKET)_([A-Z0-9_]+)\b", path.read_text("utf-8")):
            setting = name.lower().replace("__", ".")
            known = {*KNOWN, *SERVER_NAMES, "home", "a.b"}
            assert setting in known or setting.startswith("auth."), f"{path.name}: {name}"


def test_every_command_that_is_named_is_one():
    known = {" ".join(words) for words in reference.commands()}
    for path in PAGES:
        for words in re.findall(r"`valetkey ((?:[a-z]+ ?)+)", path.read_text("utf-8")):
            named = words.strip()
            assert any(named == one or named.startswith(f"{one} ") for one in known if one), f"{path.name}: {named}"


def anchors(path: Path) -> set[str]:
    """What may stand behind the # of a link to that page, as GitHub makes it of the headings."""
    plain = FENCED.sub("", path.read_text("utf-8"))
    headings = re.findall(r"^#+ (.+)$", plain, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", FENCED.sub("", path.read_text("utf-8"))):
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_settings_and_providers_that_are_shown_can_be_used(path, tmp_path):
    for language, text in FENCED.findall(path.read_text("utf-8")):
        if language != "toml":
            continue
        values = tomllib.loads(text)
        if "handlers" in values or "issuer" in values:
            file = tmp_path / "shown.toml"
            file.write_text(text)
            assert load(file, operator=True).handlers
        else:
            config = Config(Sources((SourceLayer("valetkey.toml", flatten(values)),)))
            for provider in values.get("auth", {}):
                assert config.client(provider) is not None
            (tmp_path / "valetkey.toml").write_text(text)
            assert len(load_server(tmp_path, {}).identity.issuers) == len(values.get("issuers", {}))
            assert len(read_rules(config.sources)) == 3 + len(values.get("policy", {}).get("rules", ()))


def written(name: str, folder: Path, **instead: str) -> None:
    """Write the files of a page as a reader does, with these replaced: the ports that it names may be taken here."""
    for path, text in FILE.findall(page(name)):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(functools.reduce(lambda held, pair: held.replace(*pair), instead.items(), text))
        (folder / path).chmod(0o600)


def output(reader, program: str) -> str:
    """What a program prints, in a process of its own, while the reader follows its links; it has to end well."""
    with subprocess.Popen(
        [sys.executable, program],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        timer = threading.Timer(40, process.kill)
        timer.start()
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            reader.read(line)
        timer.cancel()
    reader.done()
    printed = "".join(lines)
    assert process.returncode == 0, printed
    return printed


def test_the_first_page_leads_a_newcomer_to_an_account_that_stays(reader, home):
    port = free_port()
    written("start.md", Path(), **{"9400": str(port)})
    with subprocess.Popen(
        [sys.executable, "-u", "provider.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as provider:
        assert provider.stdin is not None
        assert provider.stdout is not None
        assert provider.stdout.readline() == "Example Mail is running. Press Enter to stop it.\n"
        first = output(reader, "first.py")
        assert f"{INVITATION}http://127.0.0.1:{port}/authorize?" in first
        assert first.endswith('["Your invoice for March","The meeting moved to Thursday"]\n')
        assert [status for status, _ in reader.pages] == [200]
        assert "is connected" in reader.pages[0][1]
        assert output(reader, "first.py") == '["Your invoice for March","The meeting moved to Thursday"]\n'
        assert {path.name for path in home.iterdir()} == {"valetkey.db", "vault.keys", "tls"}
        assert output(reader, "forget.py") == "True\n"
        assert output(reader, "forget.py") == "False\n"
        provider.stdin.write("\n")
        provider.stdin.flush()
        assert provider.wait(timeout=20) == 0


@pytest.fixture
def ledger():
    """The service of own-handler.md."""
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse, RedirectResponse
    from starlette.routing import Route

    from valetkey.testing.loopback import Loopback

    async def connect(request):
        asked = request.query_params
        return RedirectResponse(f"{asked['return_to']}?state={asked['state']}&ticket=ticket-0123456789")

    async def session(request):
        assert await request.json() == {"ticket": "ticket-0123456789"}
        return JSONResponse({"session": "session-0123456789", "seconds": 3600})

    routes = [Route("/connect", connect), Route("/session", session, methods=["POST"])]
    with Loopback(Starlette(routes=routes)) as service:
        yield service


def test_a_handler_written_from_its_page_connects_an_account(reader, ledger):
    written("own-handler.md", Path(), **{"https://ledger.example": ledger.url})
    printed = output(reader, "book.py")
    assert f"{INVITATION}{ledger.url}/connect?" in printed
    assert printed.endswith("booked 250 in session ***\n")
    assert "Ledger is connected" in reader.pages[0][1]
    assert output(reader, "book.py") == "booked 250 in session ***\n"
