"""Keys, a vault over them, and dice that fall the same way each time."""

import base64
import hashlib
from collections.abc import Hashable
from typing import Any

from tests.stores.values import ADA
from valetkey.model.connections import Credential, Sealed
from valetkey.ports.world import Key, KeySource
from valetkey.secret import Secret
from valetkey.vault.keyring import Keyring
from valetkey.vault.seal import Sealer


class Dice:
    """Randomness that is the same in every run, and never the same twice in one."""

    def __init__(self, seed: str = "dice") -> None:
        self._seed = seed
        self._count = 0

    def bytes(self, size: int) -> bytes:
        """``size`` bytes."""
        self._count += 1
        return hashlib.shake_256(f"{self._seed} {self._count}".encode()).digest(size)

    def token(self, size: int = 32) -> str:
        """``size`` bytes as text."""
        return base64.urlsafe_b64encode(self.bytes(size)).rstrip(b"=").decode()


class Given:
    """A source of keys that a test changes; it counts how often it is asked."""

    def __init__(self, *ids: str) -> None:
        self.ids = list(ids)
        self.asked = 0
        self.looked = 0
        self.error: Exception | None = None

    name = "given"

    def stamp(self) -> Hashable:
        """What a test changed."""
        self.looked += 1
        return (*self.ids, str(self.error))

    def add(self) -> Key:
        """A new first one."""
        self.ids.insert(0, f"k{len(self.ids) + 1}")
        return self.keys()[0]

    def remove(self, key_id: str) -> None:
        """Take it away."""
        self.ids.remove(key_id)

    def keys(self, *, make: bool = True) -> tuple[Key, ...]:
        """Keys of those ids, made of their ids."""
        self.asked += 1
        if self.error is not None:
            raise self.error
        return tuple(Key(id=name, material=material(name)) for name in self.ids)


def material(name: str) -> bytes:
    """The 32 bytes of a key."""
    return hashlib.sha256(name.encode()).digest()


def a_vault(*ids: str) -> tuple[Sealer, Given]:
    """A sealer over given keys, and their source."""
    source = Given(*(ids or ("k1",)))
    return Sealer(a_ring(source), Dice()), source


def a_ring(source: KeySource) -> Keyring:
    """A keyring for which no time goes by: it reads its source again only when it has to."""
    return Keyring(source, ticks=lambda: 0.0)


ACCESS = "canary-access-3b1f"
REFRESH = "canary-refresh-9c2e"
FULL = Credential(
    access_token=Secret(ACCESS),
    refresh_token=Secret(REFRESH),
    fields={"user": Secret("canary-user"), "password": Secret('pä"ss\n\0')},
    token_type="mac",
    client_id="canary-client",
    context_class="my_package.context:MyContext",
    context=Secret('{"answer": 42}'),
)


def seal_full(sealer: Sealer, **place: Any) -> Sealed:
    """That credential, sealed for connection c1 of Ada's in its first generation, or for the place given."""
    usual: dict[str, Any] = {"connection_id": "c1", "owner": ADA, "provider": "slack", "generation": 1}
    return sealer.seal_credential(FULL, **(usual | place))
