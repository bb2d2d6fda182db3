"""Where root keys come from, and who may read them."""

import base64
import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vault.keys import Dice
from valetkey.adapters.keys_file import FileKeys, KeyFile
from valetkey.adapters.keysources import EnvironmentKey, SeveralKeys
from valetkey.adapters.system import SystemEntropy
from valetkey.errors import InvalidSetting, KeyUnavailable
from valetkey.ports.world import Key, KeySource
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock

ONE = bytes.fromhex("5f3c9a017be48d26c0f1447890ab3ed265119c04f7e8b2135dca6087e9413bf0")
THREE = bytes.fromhex("0c1d2e3f405162738495a6b7c8d9eafb0d1c2b3a49586776859403f2e1d0cfbe")
TWO = bytes.fromhex("a1b2038cde94f57617e8d9cabb0a2c3d4e5f60718293a4b5c6d7e8f90a1b2c3e")


def base64url(material: bytes) -> str:
    return base64.urlsafe_b64encode(material).decode()


def source(path: Path) -> FileKeys:
    return FileKeys(path, entropy=SystemEntropy(), clock=ManualClock(1_750_000_000.5))


SPELLINGS = [
    ONE.hex(),
    ONE.hex().upper(),
    base64url(ONE),
    base64url(ONE).rstrip("="),
    base64.b64encode(ONE).decode(),
    f"  {base64url(ONE)}\n",
]


@pytest.mark.parametrize("text", SPELLINGS)
def test_a_key_may_be_spelled_in_base64_or_hexadecimal(text):
    (key,) = EnvironmentKey(Secret(text)).keys()
    assert key.material == ONE
    assert key.id == EnvironmentKey(Secret(ONE.hex())).keys()[0].id


def test_the_first_of_several_keys_writes():
    keys = EnvironmentKey(Secret(f"{base64url(TWO)}, {ONE.hex()}")).keys()
    assert [key.material for key in keys] == [TWO, ONE]
    assert keys[0].id != keys[1].id


WEAK = {
    "nothing": "",
    "a word": "hunter2",
    "short": base64url(ONE[:31]),
    "long": base64url(ONE + b"x"),
    "short hexadecimal": ONE.hex()[:-2],
    "no hexadecimal": "g" * 64,
    "zeros": "00" * 32,
    "a pattern": "00112233" * 8,
    "a phrase in base64": base64url(b"correct horse battery staple 123"),
    "a forgotten comma": f"{ONE.hex()},",
    "odd letters": base64url(ONE)[:-4] + "é??=",
}


@pytest.mark.parametrize("text", WEAK.values(), ids=WEAK)
def test_a_key_that_is_none_is_refused_with_the_way_to_make_one(text):
    with pytest.raises(InvalidSetting, match=r"VALETKEY_VAULT_KEY .* Make one by: python3 -c") as caught:
        EnvironmentKey(Secret(text))
    if len(text) > 6:
        assert text.strip(",") not in str(caught.value)


def test_the_way_to_make_one_makes_one():
    with pytest.raises(InvalidSetting) as caught:
        EnvironmentKey(Secret(""))
    program = str(caught.value).partition('python3 -c "')[2].rstrip('"')
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    (key,) = EnvironmentKey(Secret(run.stdout)).keys()
    assert len(key.material) == 32


def test_a_key_file_is_made_at_the_first_need_and_said(tmp_path, caplog):
    caplog.set_level(logging.INFO, "valetkey")
    path = tmp_path / "home" / "vault.keys"
    keys = source(path)
    assert not path.parent.exists()

    (made,) = keys.keys()
    assert len(made.material) == 32
    assert made.created_at == 1_750_000_000
    assert keys.keys() == source(path).keys() == (made,)
    assert list(path.parent.iterdir()) == [path]
    (record,) = caplog.records
    assert str(path) in record.getMessage()
    assert base64url(made.material) not in record.getMessage()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_only_the_owner_may_read_it_whatever_the_umask(tmp_path, umask):
    """V-11."""
    path = tmp_path / "made" / "home" / "vault.keys"
    before = os.umask(umask)
    try:
        source(path).keys()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602, 0o644, 0o610])
def test_a_file_that_others_may_use_is_refused_with_the_command(tmp_path, mode):
    path = tmp_path / "my home" / "vault.keys"
    source(path).keys()
    path.chmod(mode)
    with pytest.raises(KeyUnavailable, match=f"chmod 600 '{path}'"):
        source(path).keys()
    path.chmod(0o600)
    assert len(source(path).keys()) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file away")
def test_another_account_s_file_is_refused_with_the_command(tmp_path):
    path = tmp_path / "vault.keys"
    source(path).keys()
    os.chown(path, 65534, -1)
    with pytest.raises(KeyUnavailable, match=f"chown 0 {path}"):
        source(path).keys()


def line(material: bytes, created: str = "2025-06-15T12:00:00+00:00") -> str:
    (key,) = EnvironmentKey(Secret(material.hex())).keys()
    return f"{key.id} {created} {base64url(material)}\n"


def keep(path: Path, text: str) -> Path:
    path.touch(0o600)
    path.write_text(text)
    return path


def test_the_first_line_writes_and_a_key_has_its_id_of_the_environment(tmp_path):
    path = keep(tmp_path / "vault.keys", f"# newest first\n{line(TWO)}\n\n{line(ONE, 'unknown')}")
    keys = source(path).keys()
    environment = EnvironmentKey(Secret(f"{TWO.hex()},{ONE.hex()}")).keys()
    assert [(key.id, key.material) for key in keys] == [(key.id, key.material) for key in environment]
    assert [key.created_at for key in keys] == [1_749_988_800, 0.0]


@pytest.mark.parametrize(
    "text",
    [
        line(ONE)[:-3] + "\n",
        line(ONE).replace(base64url(ONE), base64url(TWO)),
        line(ONE).split(maxsplit=1)[1],
        f"{line(TWO)}garbage\n",
        "é" * 40,
    ],
    ids=["cut", "another key's bytes", "no id", "second line", "no text"],
)
def test_a_damaged_line_is_named_by_number_and_not_quoted(tmp_path, text):
    path = keep(tmp_path / "vault.keys", text)
    number = 2 if text.startswith(line(TWO)) else 1
    with pytest.raises(KeyUnavailable, match=f"Line {number} .* Restore") as caught:
        source(path).keys()
    assert base64url(ONE)[:20] not in str(caught.value)
    assert path.read_text() == text


def test_an_empty_file_is_not_filled(tmp_path):
    path = keep(tmp_path / "vault.keys", "# all gone\n")
    with pytest.raises(KeyUnavailable, match="holds no key"):
        source(path).keys()
    assert path.read_text() == "# all gone\n"


def test_a_file_that_went_away_is_not_made_again(tmp_path):
    path = tmp_path / "vault.keys"
    keys = source(path)
    keys.keys()
    path.unlink()
    with pytest.raises(KeyUnavailable, match="went away"):
        keys.keys()
    assert not path.exists()


def test_a_folder_in_its_place_and_a_place_that_cannot_be_made_are_said(tmp_path):
    (tmp_path / "vault.keys").mkdir()
    with pytest.raises(KeyUnavailable, match=r"vault\.keys"):
        source(tmp_path / "vault.keys").keys()
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyUnavailable, match="VALETKEY_VAULT_KEY"):
        source(tmp_path / "file" / "home" / "vault.keys").keys()


PROGRAM = """
import sys
from pathlib import Path
from valetkey.adapters.keys_file import FileKeys
from valetkey.adapters.system import SystemClock, SystemEntropy
keys = FileKeys(Path(sys.argv[1]), entropy=SystemEntropy(), clock=SystemClock())
print("ready", flush=True)
sys.stdin.readline()
print([key.id for key in keys.keys()])
"""


def test_of_eight_processes_that_start_at_once_one_makes_the_key_for_all(tmp_path):
    path = tmp_path / "home" / "vault.keys"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = {process.communicate(timeout=30)[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 8
    (made,) = source(path).keys()
    assert said == {f"{[made.id]}\n"}
    assert list(path.parent.iterdir()) == [path]


def test_the_one_who_came_second_takes_the_first_one_s_key(tmp_path, monkeypatch):
    path = tmp_path / "vault.keys"
    link = os.link
    won: list[Key] = []

    def slow_link(draft: Path, target: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        won.extend(FileKeys(path, entropy=Dice("the other"), clock=ManualClock()).keys())
        link(draft, target)

    monkeypatch.setattr(os, "link", slow_link)
    assert source(path).keys() == tuple(won)
    assert list(tmp_path.glob("*vault.keys*")) == [path]


def test_no_key_is_printed():
    environment = EnvironmentKey(Secret(ONE.hex()))
    seen = repr((environment, environment.keys()))
    assert ONE.hex() not in seen
    assert repr(ONE)[2:-1] not in seen


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with nothing else in it."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def materials(keys: KeySource) -> list[bytes]:
    found = keys.keys()
    return [key.material for key in found]


def test_a_key_is_added_before_the_others_and_kept(place):
    path = keep(place / "vault.keys", f"# ours\n{line(ONE)}")
    keys = source(path)
    before = keys.stamp()
    added = keys.add()
    assert keys.stamp() != before
    assert materials(source(path)) == [added.material, ONE]
    assert source(path).keys()[0] == added
    assert (added.created_at, added.source) == (1_750_000_000, "file")
    assert "# ours\n" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(place.iterdir()) == [path]


def test_adding_to_a_file_that_is_not_there_makes_the_first_key_too(place):
    path = place / "home" / "vault.keys"
    added = source(path).add()
    assert source(path).keys()[0].id == added.id
    assert len(source(path).keys()) == 2


def test_a_link_to_the_file_stays_a_link(place):
    (place / "kept").mkdir()
    path = keep(place / "kept" / "vault.keys", line(ONE))
    link = place / "vault.keys"
    link.symlink_to(path)
    source(link).add()
    assert link.is_symlink()
    assert len(source(path).keys()) == 2


def test_a_key_is_removed_and_nothing_else(place):
    path = keep(place / "vault.keys", f"# newest first\n{line(TWO)}\n# the old one\n{line(ONE)}")
    newest, old = source(path).keys()
    source(path).remove(old.id)
    source(path).remove(old.id)
    assert source(path).keys() == (newest,)
    assert base64url(ONE) not in path.read_text()
    assert "# the old one" in path.read_text()
    assert list(place.iterdir()) == [path]


def test_the_key_that_writes_is_not_removed(place):
    path = keep(place / "vault.keys", line(TWO) + line(ONE))
    before = path.read_text()
    with pytest.raises(KeyUnavailable, match="Add another one first"):
        source(path).remove(source(path).keys()[0].id)
    assert path.read_text() == before


def test_a_file_that_was_damaged_a_moment_ago_is_not_written_anew(place):
    path = keep(place / "vault.keys", "garbage\n")
    with pytest.raises(KeyUnavailable, match="Line 1"):
        KeyFile(path, entropy=Dice()).add(line(ONE).strip())
    assert path.read_text() == "garbage\n"


@pytest.mark.parametrize("act", ["add", "remove"])
def test_a_damaged_file_is_not_written_anew(place, act):
    path = keep(place / "vault.keys", f"{line(TWO)}garbage\n")
    with pytest.raises(KeyUnavailable, match="Line 2"):
        source(path).add() if act == "add" else source(path).remove("0" * 16)
    assert path.read_text() == f"{line(TWO)}garbage\n"


def test_what_a_killed_process_left_goes_with_the_next_writing(place):
    path = keep(place / "vault.keys", line(ONE))
    keep(place / ".vault.keys.left", line(TWO))
    source(path).add()
    assert list(place.iterdir()) == [path]


def test_a_disk_that_is_full_leaves_the_file_as_it_was(place, monkeypatch):
    path = keep(place / "vault.keys", line(ONE))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyUnavailable, match="No space left"):
        source(path).add()
    assert path.read_text() == line(ONE)
    assert list(place.iterdir()) == [path]


ADDING = """
import sys
from pathlib import Path
from valetkey.adapters.keys_file import FileKeys
from valetkey.adapters.system import SystemClock, SystemEntropy
keys = FileKeys(Path(sys.argv[1]), entropy=SystemEntropy(), clock=SystemClock())
print("ready", flush=True)
sys.stdin.readline()
print(" ".join(keys.add().id for _ in range(25)))
"""


def test_of_processes_that_add_at_once_none_loses_a_key(place):
    path = keep(place / "vault.keys", line(ONE))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ADDING, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    added = " ".join(process.communicate(timeout=60)[0] for process in processes).split()
    assert len(set(added)) == 100
    found = source(path).keys()
    assert {made.id for made in found} == {*added, line(ONE).split()[0]}


def test_the_stamp_changes_with_every_writing_and_with_nothing_else(place):
    path = place / "vault.keys"
    keys = source(path)
    seen = {keys.stamp()}
    keys.keys()
    seen.add(keys.stamp())
    for _ in range(50):
        keys.add()
        seen.add(keys.stamp())
        keys.keys()
        seen.add(keys.stamp())
    assert len(seen) == 52


def test_keys_of_the_environment_are_changed_by_hand():
    keys = EnvironmentKey(Secret(f"{TWO.hex()},{ONE.hex()}"))
    assert keys.stamp() == keys.stamp()
    with pytest.raises(
        KeyUnavailable, match=r"Put it first.*restart every process.*valetkey vault rotate --reseal-only"
    ):
        keys.add()
    with pytest.raises(KeyUnavailable, match="Take it out there"):
        keys.remove(keys.keys()[1].id)
    assert len(keys.keys()) == 2


def test_several_sources_are_read_as_one_and_the_first_writes(place):
    path = keep(place / "vault.keys", line(TWO) + line(ONE))
    both = SeveralKeys([source(path), EnvironmentKey(Secret(f"{ONE.hex()},{THREE.hex()}"))])
    assert materials(both) == [TWO, ONE, THREE]
    assert both.keys()[1].source == "file"
    before = both.stamp()
    added = both.add()
    assert both.stamp() != before
    assert both.keys()[0].id == added.id
    both.remove(line(TWO).split()[0])
    assert materials(both) == [added.material, ONE, THREE]
    with pytest.raises(KeyUnavailable, match="VALETKEY_VAULT_KEY"):
        both.remove(both.keys()[2].id)
    with pytest.raises(KeyUnavailable, match="writes"):
        both.remove(added.id)
