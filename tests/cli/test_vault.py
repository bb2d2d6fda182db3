"""`valetkey vault`: what it says, what it does, and with which status it ends."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stores.values import a_record, a_token, in_sqlite
from tests.vault.keys import Dice, Given
from tests.vault.rows import Vault
from valetkey.adapters.keys_file import FileKeys
from valetkey.adapters.system import SystemClock, SystemEntropy
from valetkey.cli import vault_rotate
from valetkey.cli.main import main
from valetkey.ports.world import Key, KeySource
from valetkey.services.environs import Environs
from valetkey.vault.reseal import TTL, WORK

COUNTS = {"connections", "interactions", "revocations", "clients", "variables", "waiting", "tokens", "audit"}
FIELDS = COUNTS | {"id", "source", "created_at", "here", "writes", "removable"}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(vault_rotate, "NOTICED", 0.05)
    monkeypatch.setattr(vault_rotate, "SETTLED", 0.05)


def file_keys(home: Path) -> FileKeys:
    return FileKeys(home / "vault.keys", entropy=SystemEntropy(), clock=SystemClock())


def stored(home: Path, work: Callable[[Vault], Coroutine[Any, Any, Any]], source: KeySource | None = None) -> Any:
    """Do something with what is stored, as another process."""
    stores = in_sqlite(home / "valetkey.db")
    try:
        return asyncio.run(work(Vault(stores, source or file_keys(home))))
    finally:
        stores.close()


def fill(home: Path, source: KeySource | None = None, count: int = 3) -> None:
    stored(home, lambda vault: vault.fill(count), source)


@pytest.fixture
def filled(home) -> Key:
    """The key that sealed three rows of each kind."""
    fill(home)
    (key,) = file_keys(home).keys()
    return key


def listed(capsys) -> dict[str, dict[str, Any]]:
    assert main(["vault", "status", "--json"]) == 0
    return {row["id"]: row for row in json.loads(capsys.readouterr().out)}


@pytest.mark.requirement("B3.status")
def test_where_there_is_nothing_yet_nothing_is_made(home, capsys):
    assert main(["vault", "status"]) == 0
    assert "There is no key yet" in capsys.readouterr().out
    assert listed(capsys) == {}
    assert not (home / "vault.keys").exists()


@pytest.mark.requirement("B3.status", "d.commands-vault")
def test_status_says_of_each_key_what_it_sealed(home, filled, capsys):
    rows = listed(capsys)
    assert set(rows) == {filled.id}
    row = rows[filled.id]
    assert set(row) == FIELDS
    assert (row["connections"], row["interactions"], row["revocations"], row["waiting"]) == (3, 3, 3, 0)
    assert (row["source"], row["here"], row["writes"], row["removable"]) == ("file", True, True, False)
    assert row["created_at"].endswith("+00:00")

    new = file_keys(home).add()
    rows = listed(capsys)
    assert list(rows) == [new.id, filled.id]
    assert (rows[new.id]["writes"], rows[new.id]["connections"]) == (True, 0)
    assert (rows[filled.id]["writes"], rows[filled.id]["removable"]) == (False, False)
    main(["vault", "status"])
    said = capsys.readouterr().out
    assert f"Keys come from the key file {home}/vault.keys." in said
    assert "valetkey vault rotate --reseal-only\n" in said
    assert new.material.hex() not in said


@pytest.mark.requirement("B3.lost-key")
def test_status_tells_a_lost_key_with_its_rows_and_what_to_do(home, filled, capsys):
    fill(home, Given("lost-key"), 2)
    rows = listed(capsys)
    assert list(rows) == [filled.id, "lost-key"]
    lost = rows["lost-key"]
    assert (lost["here"], lost["connections"], lost["removable"], lost["created_at"]) == (False, 2, False, None)
    assert main(["vault", "status"]) == 0
    said = capsys.readouterr().out
    assert "6 rows are closed: the key lost-key that sealed them is not here. Put it back" in said


@pytest.mark.requirement("B3.status")
def test_status_with_a_source_that_fails_still_counts_and_says_so(home, filled, capsys):
    (home / "vault.keys").chmod(0o644)
    assert main(["vault", "status", "--json"]) == 5
    said = capsys.readouterr()
    (row,) = json.loads(said.out)
    assert (row["id"], row["connections"], row["here"], row["removable"]) == (filled.id, 3, None, False)
    assert "chmod 600" in said.err
    assert main(["vault", "status"]) == 5
    assert "is not here" not in capsys.readouterr().out


@pytest.mark.requirement("B3.rotate", "d.commands-vault")
def test_rotate_adds_a_key_and_seals_everything_anew(home, filled, capsys):
    assert main(["vault", "rotate"]) == 0
    said = capsys.readouterr()
    new, old = file_keys(home).keys()
    assert old == filled
    assert said.err == ""
    assert f"Added the key {new.id} to the key file {home}/vault.keys. Keep a copy" in said.out
    assert "until every process writes with it" in said.out
    assert f"Sealed 9 rows anew with the key {new.id}." in said.out
    assert "--reseal-only --drop-old" in said.out
    assert "\x1b" not in said.out
    assert stored(home, Vault.keys) == {new.id}
    assert listed(capsys)[old.id]["removable"]


@pytest.mark.requirement("B3.rotate")
def test_drop_old_removes_what_is_not_needed_and_everything_opens(home, filled, capsys):
    """V-06."""
    assert main(["vault", "rotate", "--drop-old"]) == 0
    said = capsys.readouterr().out
    (new,) = file_keys(home).keys()
    assert new.id != filled.id
    assert f"Removed the key {filled.id}" in said
    assert stored(home, Vault.open_all) == 9
    assert filled.id not in (home / "vault.keys").read_text()


def test_drop_old_keeps_a_key_that_is_still_needed(home, filled, capsys):
    """A renewed connection of that key waits on this machine's disk for the database."""
    from valetkey.settings.pocket import Config
    from valetkey.wiring.build import build

    system = build(Config.load(Path.cwd(), os.environ))

    async def wait(vault: Vault) -> None:
        row = (await vault.stores.connections.page())[0]
        system.journal.put(row, generation=row.generation)

    stored(home, wait)
    system.close()
    assert main(["vault", "rotate", "--drop-old"]) == 0
    assert f"Kept the key {filled.id}: 1 row is sealed with it." in capsys.readouterr().out
    _, kept = file_keys(home).keys()
    assert kept == filled
    assert listed(capsys)[filled.id]["waiting"] == 1
    main(["vault", "status"])
    assert "1 row is on this machine's disk" in capsys.readouterr().out


@pytest.mark.parametrize("moved", [False, True])
def test_drop_old_keeps_a_key_that_a_workspace_s_variable_needs(home, filled, capsys, moved):
    async def share(vault: Vault) -> str:
        row = await vault.share(2)
        if moved:  # by somebody with the database: it opens under its own name only
            kept = row.config["environs"]
            odd = row.model_copy(update={"config": {**row.config, "environs": {**kept, "V0": kept["V1"]}}})
            assert await vault.stores.identity.workspaces.save(odd, was=row)
        return str(row.id)

    workspace = stored(home, share)
    status = main(["vault", "rotate", "--drop-old"])
    said = capsys.readouterr().out
    new, *kept = file_keys(home).keys()
    if moved:
        assert kept == [filled]
        assert f"Kept the key {filled.id}: 1 row is sealed with it." in said
        assert (listed(capsys)[filled.id]["variables"], listed(capsys)[new.id]["variables"]) == (1, 1)
        return
    assert (status, kept) == (0, [])

    async def opened(vault: Vault) -> dict[str, str]:
        row = await vault.stores.identity.workspaces.get(workspace)
        assert row is not None
        return Environs(vault.sealer).all(row)

    assert stored(home, opened) == {"V0": f"{workspace} 0", "V1": f"{workspace} 1"}


def test_drop_old_keeps_a_key_that_tokens_or_the_audit_log_are_verified_with(home, filled, capsys):
    now = SystemClock().now()

    async def issue(vault: Vault) -> None:
        for end in (None, now + 600, now - 600):
            await vault.stores.identity.tokens.insert(a_token(key_id=filled.id, expires_at=end))
        await vault.stores.identity.audit.append([a_record(1, key_id=filled.id)])

    stored(home, issue)
    assert main(["vault", "rotate", "--drop-old"]) == 0
    said = capsys.readouterr().out
    kept = "2 tokens of ours would end with it, records of the audit log are verified with it"
    assert f"Kept the key {filled.id}: {kept}." in said
    row = listed(capsys)[filled.id]
    assert (row["tokens"], row["audit"], row["removable"], row["connections"]) == (2, True, False, 0)
    main(["vault", "status"])
    said = capsys.readouterr().out
    assert "verifies 2 of our tokens and the audit log" in said
    assert "--reseal-only" not in said
    (home / "vault.keys").write_text("\n".join((home / "vault.keys").read_text().splitlines()[:-1]) + "\n")
    main(["vault", "status"])
    assert f"The key {filled.id}, which verifies 2 of our tokens" in capsys.readouterr().out


def test_reseal_only_adds_no_key(home, filled, capsys):
    assert main(["vault", "rotate", "--reseal-only"]) == 0
    assert f"The key {filled.id} sealed everything that is stored." in capsys.readouterr().out
    assert file_keys(home).keys() == (filled,)


@pytest.mark.requirement("d.commands-vault")
@pytest.mark.usefixtures("filled")
def test_rows_of_a_lost_key_end_it_with_a_status_and_nothing_else_is_held_up(home, capsys):
    fill(home, Given("lost-key"), 1)
    assert main(["vault", "rotate", "--drop-old"]) == 5
    said = capsys.readouterr()
    assert "Sealed 9 rows anew" in said.out
    assert "3 rows are closed: the key lost-key" in said.out
    assert "valetkey: 3 rows are still sealed as before" in said.err
    (new,) = file_keys(home).keys()
    assert stored(home, Vault.keys) == {new.id, "lost-key"}


ONE, TWO = (Dice("env").bytes(32), Dice("env 2").bytes(32))


def test_keys_of_the_environment_are_rotated_by_hand(home, monkeypatch, capsys):
    monkeypatch.setenv("VALETKEY_VAULT_KEY", ONE.hex())
    assert main(["vault", "rotate"]) == 5
    said = capsys.readouterr()
    assert "Put it first" in said.err
    assert ONE.hex() not in said.err + said.out
    monkeypatch.setenv("VALETKEY_VAULT_KEY", f"{TWO.hex()},{ONE.hex()}")
    assert main(["vault", "rotate", "--reseal-only", "--drop-old"]) == 5
    assert "Take it out there, and restart every process." in capsys.readouterr().out


def test_where_nothing_is_kept_it_says_so(monkeypatch, capsys):
    monkeypatch.setenv("VALETKEY_SESSION__SESSION_TYPE", "in_memory")
    assert main(["vault", "status"]) == 2
    assert "in_memory" in capsys.readouterr().err


def test_while_another_process_walks_it_is_watched_and_then_gone_on_with(home, filled, capsys, monkeypatch):
    file_keys(home).add()

    async def lead(vault: Vault) -> None:
        assert await vault.stores.leaders.lead(WORK, owner="another", ttl=TTL)

    async def end(vault: Vault) -> None:
        await vault.stores.leaders.resign(WORK, owner="another")

    stored(home, lead)
    said: list[str] = []
    say = vault_rotate._say

    def seen(text: str) -> None:
        said.append(text)
        say(text)
        if "connections left" in text:
            stored_apart(home, end)

    monkeypatch.setattr(vault_rotate, "_say", seen)
    assert main(["vault", "rotate", "--reseal-only"]) == 0
    assert "Another process is sealing rows anew" in said[0]
    assert said[1] == "  3 connections left"
    assert "Sealed 9 rows anew" in capsys.readouterr().out


def stored_apart(home: Path, work: Callable[[Vault], Coroutine[Any, Any, Any]]) -> None:
    """As ``stored``, where a loop is running already."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        pool.submit(stored, home, work).result(20)


@pytest.fixture
def started(home) -> Iterator[subprocess.Popen[str]]:
    """The command as a program, which waits after adding its key."""
    program = (
        "import sys; from valetkey.cli import vault_rotate; vault_rotate.NOTICED = 60;"
        "from valetkey.cli.main import main; sys.exit(main(['vault', 'rotate']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate(timeout=10)


@pytest.mark.requirement("B3.rotate")
@pytest.mark.parametrize(("ended_by", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_one_that_was_ended_is_gone_on_with(home, filled, started, capsys, ended_by, status):
    """R-23."""
    assert started.stdout is not None
    assert started.stdout.readline().startswith("Added the key")
    assert started.stdout.readline().startswith("Waiting")
    started.send_signal(ended_by)
    _, said = started.communicate(timeout=20)
    assert started.returncode == status
    if ended_by is signal.SIGINT:
        assert "Go on with: valetkey vault rotate --reseal-only" in said
        assert "Traceback" not in said
    assert stored(home, Vault.keys) == {filled.id}
    assert main(["vault", "rotate", "--reseal-only"]) == 0
    assert "Sealed 9 rows anew" in capsys.readouterr().out
    assert len(file_keys(home).keys()) == 2


@pytest.mark.requirement("B3.rotate")
@pytest.mark.usefixtures("filled")
def test_a_pipe_gets_a_line_now_and_then_and_a_terminal_a_bar(home, monkeypatch, capsys):
    monkeypatch.setattr(vault_rotate, "_SAY_EVERY", 0.0)
    assert main(["vault", "rotate"]) == 0
    assert "  9 of 9 rows sealed anew" in capsys.readouterr().out

    primary, secondary = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "valetkey", "vault", "rotate", "--reseal-only"],
        stdin=secondary, stdout=secondary, stderr=secondary, env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(secondary)
    shown = b""
    try:
        while part := os.read(primary, 4096):
            shown += part
    except OSError:  # the terminal's other end is closed
        pass
    os.close(primary)
    assert process.wait(20) == 0
    assert b"Sealing anew" in shown
    assert b"sealed everything that is stored" in shown
