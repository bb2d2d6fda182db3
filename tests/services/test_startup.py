"""Startup functions: several, in order; one that fails ends the start with one line, and nothing stays in place."""

import sys

import pytest

from tests.services.kit import Place
from valetkey.entrypoints.rpc.startup import run_startup_function
from valetkey.errors import StartupFailed, Unauthenticated
from valetkey.identity.running import parse_token

PROGRAM = """
import sys
{top}

async def parse(token):
    return {{"id": "guest", "roles": []}}

async def good(server):
    await server.register_auth_service(parse_token=parse)
    await server.register_service({{"id": "left", "f": parse}})

async def start(server):
    {body}

def plain(server):
    pass

value = 1
"""


def write(folder, body="pass", top="", name="program.py"):
    path = folder / name
    path.write_text(PROGRAM.format(body=body, top=top))
    return path


@pytest.mark.requirement("seed004.ts-startup", "C6.startup")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('the text\\nof it')", "failed: ValueError: the text of it"),
        ("raise SystemExit('bye')", "failed: SystemExit: bye"),
        ("raise KeyboardInterrupt", "failed: KeyboardInterrupt"),
        ("import asyncio; raise asyncio.CancelledError", "failed: CancelledError"),
        ("await server.register_auth_service(parse_token=lambda a, b: a)", "called as parse_token(token)"),
        ("await server.nothing()", "failed: AttributeError"),
    ],
)
async def test_one_that_fails_ends_the_start_in_one_line(place: Place, tmp_path, body, said):
    path = write(tmp_path, body)
    with pytest.raises(StartupFailed) as caught:
        await place.start(f"{path}:good", f"{path}:start")
    text = str(caught.value)
    assert f"{path}:start" in text
    assert said in text
    assert "\n" not in text
    with pytest.raises(Unauthenticated):
        await place.identify("any")
    with pytest.raises(Exception, match="No Valetkey server runs"):
        await parse_token("any")


@pytest.mark.requirement("seed004.ts-startup")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("{path}:nothing", "no function of that name"),
        ("{path}:plain", "async def"),
        ("{path}:value", "async def"),
        ("{path}", "names no startup function"),
        ("{folder}/none.py:start", "no file"),
        ("no_such_package.module:start", "no module no_such_package.module"),
        ("{folder}/top.py:start", "failed: SystemExit: 3"),
        ("{folder}/broken.py:start", "failed: SyntaxError"),
    ],
)
async def test_one_that_is_not_there_ends_the_start(place: Place, tmp_path, name, said):
    path = write(tmp_path)
    write(tmp_path, top="sys.exit(3)", name="top.py")
    (tmp_path / "broken.py").write_text("def")
    with pytest.raises(StartupFailed, match=said):
        await run_startup_function(name.format(path=path, folder=tmp_path), place)


@pytest.mark.requirement("C6.startup")
async def test_one_that_takes_too_long_ends_the_start(place: Place, tmp_path):
    path = write(tmp_path, "import asyncio; await asyncio.Event().wait()")
    with pytest.raises(StartupFailed, match=r"did not end within 0\.05 s"):
        await run_startup_function(f"{path}:start", place, deadline=0.05)


@pytest.mark.requirement("seed004.startup-functions")
async def test_modules_are_found_in_the_current_folder(place: Place, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "await server.register_service({'id': 'made', 'f': parse})", name="a_startup_module.py")
    await place.start("a_startup_module:start")
    sys.modules.pop("a_startup_module")
    assert place.table.has("public", "made")


@pytest.mark.requirement("seed004.startup-functions")
async def test_the_server_as_its_startup_functions_see_it(place: Place, tmp_path):
    body = """
    assert server.echo == server["echo"] and await server.echo(5) == 5
    await server.log("a line")
    info = await server.register_service({"id": "calc", "add": lambda a, b=0: a + b, "nested": {"one": lambda: 1}})
    assert info.id == "public/server:calc" and info["config"]["visibility"] == "protected"
    calc = await server.get_service("calc")
    assert await calc.add(1, b=2) == 3 and await calc["nested"].one() == 1
    assert (await server.get_service(info.id)).id == info.id
    token = await server.generate_token({"workspace": "team-a", "permission": "read"})
    user = await server.parse_token(token)
    assert (user.parent, user.roles, user.scope.workspaces) == ("root", [], {"team-a": "r"})
    await server.revoke_token(token)
    assert server.config.public_base_url == server.public_base_url == server.config["public_base_url"]
    login = await server.get_service("public/hypha-login")
    assert "key" in await login.start()
    assert [each.id for each in await server.list_services()] == ["public/server:calc", "public/server:hypha-login"]
    await server.unregister_service("calc")
    for missing in ("nothing", "_table"):
        try:
            server[missing]
        except KeyError as error:
            assert "register_service" in str(error)
        else:
            raise AssertionError(missing)
    """
    path = write(tmp_path, body)
    await place.start(f"{path}:start")
    assert not place.table.has("public", "calc")


async def test_a_service_of_the_same_id_is_replaced_only_when_asked(place: Place, tmp_path):
    again = "await server.register_service({'id': 'left', 'f': parse}"
    path = write(tmp_path, f"{again}, overwrite=True)")
    await place.start(f"{path}:good", f"{path}:start")
    other = write(tmp_path, f"{again})", name="other.py")
    with pytest.raises(StartupFailed, match="Service already exists"):
        await place.start(f"{other}:good", f"{other}:start")
