"""Where the vault's keys come from, as the setting vault_key says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from valetkey.errors import InvalidSetting
from valetkey.ports.world import Clock, Entropy, KeySource
from valetkey.secret import Secret
from valetkey.settings.pocket import Config

if TYPE_CHECKING:
    from valetkey.vault.held import Holdings
    from valetkey.vault.reseal import Resealer
    from valetkey.wiring.system import Parts

FILE = "vault.keys"
"""The key file's name in the data folder."""

_SETTING = "VALETKEY_VAULT_KEY"
_KINDS = ("file", "keyring", "aws-kms")


def key_source(config: Config, folder: Path, entropy: Entropy, clock: Clock) -> KeySource:
    """The source of these settings; nothing is read before its first use.

    The setting is a list parted by commas, of keys and of places: ``file:`` or ``file:PATH``, ``keyring:`` or
    ``keyring:ENTRY``, ``aws-kms:KEY``. The first one writes; the others only open, as while keys move.

    Raises:
        InvalidSetting: it names no place that we know, or a key that is none.
    """
    from valetkey.adapters.keysources import EnvironmentKey, SeveralKeys

    given = config.general.vault_key
    if given is None and config.session.session_type == "in_memory":
        return EnvironmentKey(Secret(entropy.token(32)), name="this process")
    parts = ["file:"] if given is None else [part.strip() for part in given.reveal().split(",")]
    places = dict(part.split(":", 1) for part in parts if ":" in part)
    path = Path(places.get("file") or folder / FILE).expanduser()
    sources: list[KeySource] = []
    for number, part in enumerate(parts, start=1):
        kind, colon, rest = part.partition(":")
        if not colon:
            sources.append(EnvironmentKey(Secret(part), name=_SETTING, first=number))
        elif kind == "file":
            from valetkey.adapters.keys_file import FileKeys

            sources.append(FileKeys(path, entropy=entropy, clock=clock, beside="aws-kms" in places))
        elif kind == "keyring":
            from valetkey.adapters.keys_os import OsKeys

            sources.append(OsKeys(rest or str(folder.absolute()), folder=folder, entropy=entropy, clock=clock))
        elif kind == "aws-kms" and rest:
            from valetkey.adapters.keys_kms import KmsKeys

            sources.append(KmsKeys(rest, path=path, entropy=entropy, clock=clock))
        else:
            raise InvalidSetting(
                f"Part {number} of {_SETTING} names no place for keys. Expected are keys, and of {', '.join(_KINDS)}"
                " one each: file:, file:/etc/valetkey/vault.keys, keyring:, aws-kms:alias/valetkey."
            )
    return sources[0] if len(sources) == 1 else SeveralKeys(sources)


def resealer(parts: Parts) -> Resealer:
    """The walk over all that this system keeps."""
    from valetkey.vault.reseal import Resealer

    stores = parts.stores
    return Resealer(
        connections=stores.connections,
        interactions=stores.interactions,
        revocations=stores.revocations,
        clients=stores.clients,
        workspaces=stores.workspaces,
        leaders=stores.leaders,
        sealer=parts.sealer,
        clock=parts.clock,
        entropy=parts.entropy,
        recorder=parts.recorder,
    )


def holdings(parts: Parts) -> Holdings:
    """How many rows each key sealed, signed or hashed."""
    from valetkey.vault.held import Holdings

    stores = parts.stores
    return Holdings(
        connections=stores.connections,
        interactions=stores.interactions,
        revocations=stores.revocations,
        clients=stores.clients,
        workspaces=stores.workspaces,
        tokens=stores.tokens,
        audit=stores.audit,
        journal=parts.journal,
        clock=parts.clock,
    )
