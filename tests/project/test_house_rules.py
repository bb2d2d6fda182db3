"""Rules of the house that no linter knows: who makes a Caller, who reveals a secret, who opens a file."""

import ast
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "src" / "valetkey"
LONGEST = 400

# Where a secret is really placed or sealed. Globs below src/valetkey.
REVEALING = (
    "secret.py",
    "scrub.py",
    "cli/tokens.py",
    "cli/users.py",
    "entrypoints/chat/credentials.py",  # a program's own requests
    "entrypoints/chat/verify.py",
    "entrypoints/rpc/websocket.py",  # a client is given its reconnection token
    "entrypoints/rpc/client_apps.py",  # what a caller signs in with is kept from the app
    "entrypoints/web/account.py",  # an API key is shown this once
    "entrypoints/web/presented.py",  # a session goes into its cookie
    "identity/chain.py",
    "identity/minting.py",
    "identity/passwords.py",
    "identity/reconnection.py",
    "identity/verifiers/custom.py",
    "identity/verifiers/foreign.py",
    "identity/verifiers/introspection.py",
    "identity/verifiers/ours.py",
    "identity/verifiers/reconnection.py",
    "identity/verifiers/tickets.py",
    "lending.py",
    "vault/*.py",
    "oauth/client.py",
    "oauth/registering.py",  # a registered client's secret is sealed
    "protocol/assertion.py",
    "protocol/client_auth.py",
    "protocol/device.py",  # a device code goes into the poll
    "protocol/dpop.py",  # a proof is signed with its key, and says which token it is for
    "protocol/exchange.py",
    "protocol/introspection.py",
    "protocol/jwk.py",
    "protocol/registration.py",  # the token that manages a client goes into its header
    "protocol/token.py",
    "connections/driven.py",
    "connections/handler*.py",
    "connections/handlers/*.py",
    "connections/passphrase.py",
    "connections/unattended.py",
    "connections/session_credential.py",
    "connections/transfer.py",
    "connections/whose.py",  # placed on a request to the provider itself
    "services/handle.py",
    "services/loans.py",  # a ticket goes into the context of one call
    "services/environs.py",  # a workspace's programs read their variables
    "services/manager_tokens.py",  # a token is given to whoever asked for it
    "tools/folder.py",
    "tools/function.py",
    "tools/openapi/placing.py",
    "wiring/bus.py",
    "wiring/keys.py",
    "wiring/stores.py",
    "adapters/keysources.py",
    "adapters/models/bedrock.py",
    "adapters/models/keys.py",
    "adapters/redis_client.py",
)
# Package data is read by providers/catalog, settings by settings/sources; all else is an adapter's.
# The command line writes into the user's own folder; testing holds the other side of the wire.
OPENING = (
    "adapters/*.py",
    "providers/catalog/*.py",
    "settings/sources.py",
    "settings/keyfiles.py",
    "cli/*.py",
    "testing/*.py",
)
MAKERS = {"Caller": "identity/chain.py", "Allowed": "policy/decide.py"}

SECRET_NAMES = re.compile(
    r"(^|_)(state|secret|token|h?mac|digest|signature|tag|nonce|verifier|challenge|csrf|password|api_?key)s?$"
)
FILE_METHODS = re.compile(r"(chmod|mkdir|open|(read|write)_(bytes|text)|rename|touch|unlink)$")
FILE_MODULES = re.compile(r"(fcntl|shutil|socket|socketserver|sqlite3|tempfile)$")
OS_CALLS = re.compile(r"os\.(chmod|fdopen|fsync|makedirs|mkdir|open|remove|rename|replace|rmdir|unlink)$")
RUNNERS = re.compile(r"(eval|exec|os\.(system|popen)|yaml\.load|asyncio\.create_subprocess_shell)$")
UNPICKLERS = re.compile(r"(pickle|marshal|shelve|dill)$")

Rule = Callable[[str, ast.Module], Iterator[tuple[int, str]]]


def within(place: str, globs: tuple[str, ...]) -> bool:
    """Whether a path below src/valetkey is meant by one of the globs (`*` goes across folders)."""
    return any(fnmatchcase(place, each) for each in globs)


def last(node: ast.expr) -> str:
    """The last name of an expression: `a.b.token`, `token`, `row["token"]` are all token."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
        case _:
            return ""


def imported(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Every module that is imported anywhere in a file, with its line."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""


def trusted_types_have_one_maker(place: str, module: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and (name := last(node.func)) in MAKERS and place != MAKERS[name]:
            yield node.lineno, f"only {MAKERS[name]} makes a {name}"


def secrets_are_revealed_in_named_files(place: str, module: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute) and node.attr == "reveal" and not within(place, REVEALING):
            yield node.lineno, "reveal() is called only where a secret is placed or sealed (REVEALING)"


def nothing_rests_on_assert(place: str, module: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(module):
        if isinstance(node, ast.Assert):
            yield node.lineno, "an assert is gone under python -O: raise"


def no_text_is_run_as_code(place: str, module: ast.Module) -> Iterator[tuple[int, str]]:
    for line, name in imported(module):
        if UNPICKLERS.match(name):
            yield line, f"{name} runs what it reads"
    for node in ast.walk(module):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if RUNNERS.match(called) or any(each.arg == "shell" for each in node.keywords):
                yield node.lineno, f"{called}(): no shell, and no text run as code"


def secrets_are_compared_in_constant_time(place: str, module: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(module):
        if not isinstance(node, ast.Compare) or not isinstance(node.ops[0], ast.Eq | ast.NotEq):
            continue
        sides = [node.left, node.comparators[0]]
        fixed = any(isinstance(side, ast.Constant | ast.Tuple) or last(side).isupper() for side in sides)
        if not fixed and any(SECRET_NAMES.search(last(side)) for side in sides):
            yield (
                node.lineno,
                f"{ast.unparse(node)}: use hmac.compare_digest (or `is` for members of an enum)",
            )


def packages_hold_a_docstring_only(place: str, module: ast.Module) -> Iterator[tuple[int, str]]:
    if place.endswith("/__init__.py"):
        for node in module.body[1:]:
            yield (
                node.lineno,
                "an __init__ file holds its docstring; names are imported from where they are made",
            )


def modules_say_what_they_are_for(place: str, module: ast.Module) -> Iterator[tuple[int, str]]:
    if not ast.get_docstring(module):
        yield 1, "no docstring"


def files_and_sockets_are_opened_by_adapters(place: str, module: ast.Module) -> Iterator[tuple[int, str]]:
    if within(place, OPENING):
        return
    for line, name in imported(module):
        if FILE_MODULES.match(name):
            yield line, f"{name} is for adapters"
    for node in ast.walk(module):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        by_path = isinstance(node.func, ast.Attribute) and "path" in last(node.func.value).lower()
        if called == "open" or OS_CALLS.match(called) or (by_path and FILE_METHODS.match(last(node.func))):
            yield node.lineno, f"{called}() is for adapters"


RULES: list[Rule] = [
    trusted_types_have_one_maker,
    secrets_are_revealed_in_named_files,
    nothing_rests_on_assert,
    no_text_is_run_as_code,
    secrets_are_compared_in_constant_time,
    packages_hold_a_docstring_only,
    modules_say_what_they_are_for,
    files_and_sockets_are_opened_by_adapters,
]


@pytest.mark.requirement("E-10")
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule):
    broken = [
        f"{place}:{line}: {why}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for place in [path.relative_to(PACKAGE).as_posix()]
        for line, why in rule(place, ast.parse(path.read_text()))
    ]
    assert not broken, "\n".join(broken)


def test_no_module_is_too_long_to_read():
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in sorted(PACKAGE.rglob("*.py"))
        if (lines := len(path.read_text().splitlines())) > LONGEST
    }
    assert not long, f"over {LONGEST} lines: would each be two rooms? {long}"


@pytest.mark.requirement("E-10")
@pytest.mark.parametrize(
    ("rule", "place", "code"),
    [
        (trusted_types_have_one_maker, "pipeline.py", "c = Caller(issuer='i')"),
        (trusted_types_have_one_maker, "tools/tool.py", "c = calls.Allowed(call=c)"),
        (secrets_are_revealed_in_named_files, "entrypoints/web/page.py", "x = token.reveal()"),
        (nothing_rests_on_assert, "pipeline.py", "assert x"),
        (no_text_is_run_as_code, "tools/folder.py", "subprocess.run(line, shell=True)"),
        (no_text_is_run_as_code, "adapters/memory.py", "from pickle import loads"),
        (no_text_is_run_as_code, "cli/main.py", "os.system('open ' + url)"),
        (secrets_are_compared_in_constant_time, "interactions/service.py", "if row.state == given: pass"),
        (secrets_are_compared_in_constant_time, "policy/decide.py", "ok = given != row['access_token']"),
        (packages_hold_a_docstring_only, "tools/__init__.py", "'''Tools.'''\nfrom x import y"),
        (modules_say_what_they_are_for, "tools/tool.py", "x = 1"),
        (files_and_sockets_are_opened_by_adapters, "lending.py", "import socket"),
        (files_and_sockets_are_opened_by_adapters, "lending.py", "open('x')"),
        (files_and_sockets_are_opened_by_adapters, "vault/keyring.py", "self.path.write_text('x')"),
    ],
)
def test_a_rule_finds_what_breaks_it(rule, place, code):
    assert list(rule(place, ast.parse(code)))


@pytest.mark.parametrize(
    ("rule", "place", "code"),
    [
        (trusted_types_have_one_maker, "identity/chain.py", "c = Caller(issuer='i')"),
        (secrets_are_revealed_in_named_files, "connections/handlers/oauth2.py", "x = token.reveal()"),
        (secrets_are_compared_in_constant_time, "connections/states.py", "if row.state == State.OPEN: pass"),
        (secrets_are_compared_in_constant_time, "protocol/token.py", "if token_type == 'bearer': pass"),
        (files_and_sockets_are_opened_by_adapters, "adapters/sql/engine.py", "import sqlite3"),
    ],
)
def test_a_rule_leaves_alone_what_keeps_it(rule, place, code):
    assert not list(rule(place, ast.parse(code)))
