"""Keys that AWS KMS wraps, against moto's KMS on loopback; and KMS that cannot be reached (R-24)."""

import base64
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stores.values import in_sqlite
from tests.vault.keys import Dice
from tests.vault.rows import Vault
from tests.vault.test_keysources import ONE, keep, line
from valetkey.adapters.keys_file import FileKeys
from valetkey.adapters.keys_kms import CONTEXT, KmsKeys
from valetkey.adapters.system import SystemEntropy
from valetkey.errors import KeyUnavailable
from valetkey.settings.pocket import Config
from valetkey.testing.clock import ManualClock
from valetkey.vault.keyring import Keyring
from valetkey.wiring.keys import key_source

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # moto's dependencies deprecate things
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("flask_cors", reason="moto's server needs flask and flask-cors")
    from moto.server import ThreadedMotoServer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ALIAS = "alias/valetkey"


class Kms:
    """moto's KMS, which a test stops and starts again with what it held."""

    def __init__(self) -> None:
        self.port = 0
        self.start()

    def start(self) -> None:
        """Listen, at the same port as before."""
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self.server.start()
        self.port = self.server.get_host_and_port()[1]

    def stop(self) -> None:
        """No longer listen."""
        self.server.stop()

    @property
    def client(self):
        """A client of the test's own."""
        return boto3.client("kms", endpoint_url=f"http://127.0.0.1:{self.port}", region_name="eu-central-1")


@pytest.fixture(scope="module")
def server() -> Iterator[Kms]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    kms = Kms()
    yield kms
    kms.stop()


@pytest.fixture
def kms(server: Kms, monkeypatch) -> Kms:
    """KMS with one key, and the environment in which boto3 finds it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    if not any(each["AliasName"] == ALIAS for each in server.client.list_aliases()["Aliases"]):
        key = server.client.create_key()["KeyMetadata"]["KeyId"]
        server.client.create_alias(AliasName=ALIAS, TargetKeyId=key)
    return server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "vault.keys"


def source(path: Path, *, key: str = ALIAS, clock: ManualClock | None = None) -> KmsKeys:
    return KmsKeys(key, path=path, entropy=Dice(), clock=clock or ManualClock(1_750_000_000.5))


@pytest.mark.requirement("B3.sources")
def test_the_first_key_is_made_by_kms_and_only_its_ciphertext_is_on_the_disk(kms, path, caplog):
    (made,) = source(path).keys()
    assert len(made.material) == 32
    assert (made.source, made.created_at) == ("aws-kms", 1_750_000_000)
    text = path.read_text()
    for spelling in (base64.urlsafe_b64encode(made.material).decode().rstrip("="), made.material.hex()):
        assert spelling not in text + caplog.text
    assert path.stat().st_mode & 0o777 == 0o600

    # By KMS itself, without ours: it opens with the context, and not without.
    ciphertext = base64.urlsafe_b64decode(text.split()[2].removeprefix("aws-kms:"))
    opened = kms.client.decrypt(CiphertextBlob=ciphertext, EncryptionContext=CONTEXT)
    assert opened["Plaintext"] == made.material
    with pytest.raises(kms.client.exceptions.InvalidCiphertextException):
        kms.client.decrypt(CiphertextBlob=ciphertext)


def test_another_process_opens_the_same_keys_newest_first(kms, path):
    here = source(path)
    (first,) = here.keys()
    second = here.add()
    assert here.keys() == source(path).keys() == (second, first)
    assert second.material != first.material


def test_a_key_id_and_an_arn_are_names_too(kms, path):
    found = kms.client.describe_key(KeyId=ALIAS)["KeyMetadata"]
    for number, name in enumerate((found["KeyId"], found["Arn"])):
        assert len(source(path.with_name(str(number)), key=name).keys()) == 1


@pytest.mark.usefixtures("kms")
def test_keys_that_were_in_the_file_before_still_open_and_go_in_the_end(tmp_path):
    path = keep(tmp_path / "vault.keys", line(ONE))
    keys = source(path)
    added = keys.add()
    assert [key.material for key in source(path).keys()] == [added.material, ONE]  # noqa: SIM118 - no dict
    keys.remove(line(ONE).split()[0])
    assert source(path).keys() == (added,)
    with pytest.raises(KeyUnavailable, match="Add another one first"):
        keys.remove(added.id)


@pytest.mark.usefixtures("kms")
def test_the_file_alone_is_of_no_use_and_says_what_is_missing(path):
    source(path).keys()
    with pytest.raises(KeyUnavailable, match="Set VALETKEY_VAULT_KEY to aws-kms:"):
        FileKeys(path, entropy=Dice(), clock=ManualClock()).keys()


@pytest.mark.requirement("R-24")
def test_kms_that_is_not_there_at_the_start_is_named(kms, path):
    """R-24."""
    source(path).keys()
    kms.stop()
    try:
        with pytest.raises(KeyUnavailable, match=rf"AWS KMS \({ALIAS}\) cannot be used: it does not answer"):
            _ = Keyring(source(path), ticks=lambda: 0.0).newest
        with pytest.raises(KeyUnavailable, match="AWS KMS"):
            source(path.with_name("other")).keys()
        assert not path.with_name("other").exists()
    finally:
        kms.start()
    assert len(source(path).keys()) == 1


@pytest.mark.requirement("R-24")
def test_keys_in_memory_go_on_working_while_kms_is_away_and_a_new_one_writes_when_it_is_back(kms, path, caplog):
    """R-24."""
    clock = ManualClock()
    source(path, clock=clock).keys()
    here = source(path, clock=clock)
    ring = Keyring(here, ticks=clock.monotonic)
    before = ring.newest
    cipher = ring.cipher(before)
    kms.stop()
    try:
        assert [key.id for key in here.keys()] == [before]  # noqa: SIM118 - no dict
    finally:
        kms.start()
    added = source(path, clock=clock).add()  # by another process, just before KMS goes away again
    kms.stop()
    try:
        for _ in range(3):
            clock.advance(1)
            assert ring.newest == before
            assert ring.cipher(before) is cipher
        with pytest.raises(KeyUnavailable):
            ring.cipher(added.id)
    finally:
        kms.start()
    assert "AWS KMS" in caplog.text
    clock.advance(300)
    assert ring.newest == added.id
    assert ring.cipher(before).decrypt(b"n" * 12, cipher.encrypt(b"n" * 12, b"x", None), None) == b"x"


@pytest.mark.requirement("R-24")
def test_kms_that_does_not_answer_is_asked_ever_more_seldom(kms, path):
    clock = ManualClock()
    source(path, clock=clock).keys()
    keys = source(path, clock=clock)
    kms.stop()
    asked: list[int] = []
    try:
        client = keys._client()
        client.meta.events.register("before-send.kms.Decrypt", lambda **_: asked.append(1))
        for _ in range(600):
            with pytest.raises(KeyUnavailable, match="does not answer"):
                keys.keys()
            clock.advance(1)
    finally:
        kms.start()
    # After 0, 5, 15, 35, 75, 155, 315 s; each asks twice.
    assert len(asked) == 14


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda body: body[:-8] + "AAAAAAA=", "damaged"),
        (lambda body: "aws-kms:é", "Line 1 .* damaged"),
        (lambda body: "aws-kms:", "Line 1 .* damaged"),
    ],
    ids=["other bytes", "no base64", "nothing"],
)
@pytest.mark.usefixtures("kms")
def test_a_damaged_ciphertext_is_said(path, spoil, said):
    source(path).keys()
    key_id, made, body = path.read_text().split()
    path.write_text(f"{key_id} {made} {spoil(body)}\n")
    with pytest.raises(KeyUnavailable, match=said):
        source(path).keys()


@pytest.mark.usefixtures("kms")
def test_a_ciphertext_under_another_key_s_id_is_damage(path):
    keys = source(path)
    (first,) = keys.keys()
    second = keys.add()
    path.write_text(path.read_text().replace(second.id, "x").replace(first.id, second.id).replace("x ", f"{first.id} "))
    with pytest.raises(KeyUnavailable, match=r"Line 1 .* damaged"):
        source(path).keys()


@pytest.mark.usefixtures("kms")
def test_a_key_that_kms_does_not_have_is_said(path):
    with pytest.raises(KeyUnavailable, match=r"alias/nobody.*there is no such key"):
        source(path, key="alias/nobody").keys()
    assert not path.exists()


@pytest.mark.usefixtures("kms")
def test_missing_credentials_and_a_missing_region_are_said(path, monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(KeyUnavailable, match="no AWS credentials"):
        source(path).keys()
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(KeyUnavailable, match="Set AWS_REGION"):
        source(path).keys()


@pytest.mark.requirement("B3.move")
@pytest.mark.usefixtures("kms")
async def test_keys_move_from_the_file_to_kms_and_back(home):
    stores = in_sqlite(home / "valetkey.db")

    def opened(setting: str) -> Vault:
        config = Config.load(Path.cwd(), os.environ, vault_key=setting)
        return Vault(stores, key_source(config, home, SystemEntropy(), ManualClock()))

    await opened("file:").fill(2)
    for setting, kind in ((f"aws-kms:{ALIAS}", "aws-kms"), (f"file:,aws-kms:{ALIAS}", "file")):
        vault = opened(setting)
        old = vault.sealer.keyring.source.keys()
        new = vault.sealer.keyring.source.add()
        assert new.source == kind
        vault.sealer.keyring.reload()
        assert (await vault.resealer.walk()).done == 6
        for key in old:
            vault.sealer.keyring.source.remove(key.id)
        alone = opened(setting.removesuffix(f",aws-kms:{ALIAS}"))
        assert alone.sealer.keyring.ids() == (new.id,)
        assert await alone.open_all() == 6
    stores.close()


@pytest.mark.usefixtures("kms")
def test_no_key_is_printed(path):
    keys = source(path)
    (made,) = keys.keys()
    seen = repr((keys, vars(keys).keys(), made, keys.name))
    assert made.material.hex() not in seen
    assert repr(made.material)[2:-1] not in seen
    assert ALIAS in keys.name
