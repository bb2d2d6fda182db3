"""Secrets on disk: sealed, in every file, all the time (V-01)."""

import base64
import json
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from tests.stores.values import ADA, a_connection, an_interaction, in_sqlite
from tests.vault.keys import ACCESS, FULL, REFRESH, Dice, a_ring
from valetkey.adapters.keys_file import FileKeys
from valetkey.model.interactions import Phase
from valetkey.testing.clock import ManualClock
from valetkey.vault.seal import Sealer

CANARIES = (ACCESS, REFRESH, "canary-user", "canary-verifier", "canary-code")


def spellings(text: str) -> set[bytes]:
    """A text as it may lie in a file: plain, base64 at any offset, URL-encoded, JSON-escaped, hexadecimal, UTF-16."""
    raw = text.encode()
    encoded = {base64.b64encode(b"\0" * shift + raw)[4:-4] for shift in range(3)}
    return encoded | {
        raw,
        quote(text, safe="").encode(),
        json.dumps(text).strip('"').encode(),
        raw.hex().encode(),
        text.encode("utf-16-le"),
    }


def found(folder: Path) -> list[tuple[str, str]]:
    files = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return [
        (name, text)
        for name, content in files.items()
        for text in CANARIES
        if any(spelling in content for spelling in spellings(text))
    ]


def test_the_hunt_finds_what_is_there(tmp_path):
    for number, spelling in enumerate(spellings(ACCESS)):
        (tmp_path / "file").write_bytes(b"before" + spelling + b"after")
        assert found(tmp_path) == [("file", ACCESS)], number


async def test_no_secret_is_in_a_file_in_any_spelling(home):
    sealer = Sealer(a_ring(FileKeys(home / "vault.keys", entropy=Dice(), clock=ManualClock())), Dice("nonces"))
    stores = in_sqlite(home / "valetkey.db")

    def sealed(connection_id: str, generation: int):
        return sealer.seal_credential(
            FULL, connection_id=connection_id, owner=ADA, provider="slack", generation=generation
        )

    row = a_connection()
    row = replace(row, sealed=sealed(row.id, 1))
    await stores.connections.insert(row)
    row = replace(row, generation=2, sealed=sealed(row.id, 2))
    await stores.connections.save(row, generation=1)

    asked = an_interaction()
    payload = sealer.seal_private({"verifier": "canary-verifier"}, interaction_id=asked.id, owner=ADA, part="payload")
    answer = sealer.seal_private({"code": "canary-code"}, interaction_id=asked.id, owner=ADA, part="answer")
    asked = await stores.interactions.open(replace(asked, payload=payload))
    await stores.interactions.save(replace(asked, phase=Phase.ANSWERED, answer=answer, version=2), version=1)

    names = {path.name for path in home.iterdir()}
    assert names == {"vault.keys", "valetkey.db", "valetkey.db-wal", "valetkey.db-shm"}
    assert (home / "valetkey.db-wal").stat().st_size > 0
    assert found(home) == []
    stores.close()
    assert found(home) == []

    again = in_sqlite(home / "valetkey.db")
    fresh = Sealer(a_ring(FileKeys(home / "vault.keys", entropy=Dice(), clock=ManualClock())), Dice())
    kept, settled = await again.connections.by_id(row.id), await again.interactions.get(asked.id)
    assert kept is not None
    assert settled is not None
    assert fresh.open_credential(kept) == FULL
    assert fresh.open_private(settled, "answer") == {"code": "canary-code"}
    assert fresh.open_private(settled, "payload") == {"verifier": "canary-verifier"}
    again.close()
