"""A workspace's variables as its row keeps them: each sealed for its own name."""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from valetkey.errors import VaultError
from valetkey.model.connections import Sealed, key_id_of

if TYPE_CHECKING:
    from valetkey.vault.seal import Bound

ENVIRONS = "environs"
"""Under this name a workspace's ``config`` has them."""


def variables_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """All by name, as they are kept."""
    found = config.get(ENVIRONS)
    return dict(found) if isinstance(found, dict) else {}


def bound(workspace: str, name: str) -> Bound:
    """What one belongs to."""
    return "environ", workspace, name


def written(sealed: Sealed) -> str:
    """A sealed one, as JSON can keep it."""
    return base64.b64encode(sealed).decode()


def read(value: object) -> Sealed:
    """A sealed one, as it was written.

    Raises:
        VaultError: the row was changed outside Valetkey.
    """
    try:
        return Sealed(base64.b64decode(str(value), validate=True))
    except (binascii.Error, ValueError):
        raise VaultError("A variable in this row was changed outside Valetkey. Set it anew.") from None


def keys_of(config: Mapping[str, Any]) -> Counter[str]:
    """How many of them each key sealed; under an empty id those whose header is damaged."""
    found: Counter[str] = Counter()
    for value in variables_of(config).values():
        try:
            found[key_id_of(read(value))] += 1
        except VaultError:
            found[""] += 1
    return found
