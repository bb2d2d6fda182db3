"""Which source the setting vault_key chooses."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vault.keys import Dice
from tests.vault.test_keysources import ONE, THREE, TWO, keep, line, materials
from valetkey.errors import InvalidSetting, KeyUnavailable
from valetkey.ports.world import KeySource
from valetkey.settings.pocket import Config
from valetkey.testing.clock import ManualClock
from valetkey.wiring.keys import key_source


def chosen(home: Path, **settings: object) -> KeySource:
    return key_source(Config.load(Path.cwd(), os.environ, **settings), home, Dice(), ManualClock())


@pytest.mark.requirement("B3.sources")
def test_by_default_a_file_in_the_data_folder(home):
    made = chosen(home).keys()
    assert (home / "vault.keys").is_file()
    assert chosen(home, vault_key="file:").keys() == made


def test_a_file_elsewhere(home, tmp_path):
    chosen(home, vault_key=f"file:{tmp_path}/secrets/vault.keys").keys()
    assert (tmp_path / "secrets" / "vault.keys").is_file()
    assert not home.exists()


@pytest.mark.requirement("B3.sources")
def test_keys_of_the_setting(home):
    assert materials(chosen(home, vault_key=f"{TWO.hex()}, {ONE.hex()}")) == [TWO, ONE]
    assert not home.exists()


def test_in_memory_a_key_that_nobody_else_has(home):
    (key,) = chosen(home, session={"session_type": "in_memory"}).keys()
    assert len(key.material) == 32
    assert not home.exists()


@pytest.mark.requirement("B3.move")
def test_while_keys_move_the_first_place_writes_and_all_open(home):
    home.mkdir()
    keep(home / "vault.keys", line(ONE))
    to_file = chosen(home, vault_key=f"file:,{THREE.hex()}")
    assert materials(to_file) == [ONE, THREE]
    to_setting = chosen(home, vault_key=f"{TWO.hex()},file:,{THREE.hex()}")
    assert materials(to_setting) == [TWO, ONE, THREE]
    with pytest.raises(KeyUnavailable, match="by hand"):
        to_setting.add()
    added = to_file.add()
    assert materials(to_setting) == [TWO, added.material, ONE, THREE]


def test_places_are_named_for_people(home):
    assert chosen(home).name == f"the key file {home}/vault.keys"
    assert chosen(home, vault_key=ONE.hex()).name == "VALETKEY_VAULT_KEY"
    assert chosen(home, vault_key="keyring:").name == f"the OS keyring (valetkey, {home})"
    assert chosen(home, vault_key="keyring:mine").name == "the OS keyring (valetkey, mine)"
    assert chosen(home, vault_key="aws-kms:alias/a").name == f"AWS KMS (alias/a), wrapped in {home}/vault.keys"
    arn = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd"
    assert (
        chosen(home, vault_key=f"aws-kms:{arn},file:/k").name == f"AWS KMS ({arn}), wrapped in /k, then the key file /k"
    )


@pytest.mark.parametrize("text", ["vault:x", "aws-kms:", "http://kms.example.com", "gcp-kms:a"])
def test_a_place_that_we_do_not_know_is_refused_with_those_that_we_do(home, text):
    with pytest.raises(InvalidSetting, match=r"Part 2 of VALETKEY_VAULT_KEY .*file:.*keyring:.*aws-kms:alias/valetkey"):
        chosen(home, vault_key=f"{ONE.hex()},{text}")


def test_a_key_that_is_none_is_told_by_its_place_in_the_list(home):
    with pytest.raises(InvalidSetting, match=r"Key 2 in VALETKEY_VAULT_KEY"):
        chosen(home, vault_key="file:,hunter2")


def test_no_library_is_loaded_that_the_choice_does_not_need():
    program = (
        "import os, sys; from pathlib import Path; from valetkey.settings.pocket import Config;"
        "from valetkey.wiring.keys import key_source;"
        "from valetkey.adapters.system import SystemClock, SystemEntropy;"
        "key_source(Config.load(Path('.'), os.environ), Path('home'), SystemEntropy(), SystemClock()).keys();"
        "print([name for name in sys.modules if name in ('boto3', 'botocore', 'keyring')])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert run.stdout.strip() == "[]"
