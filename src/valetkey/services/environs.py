"""A workspace's variables: values that its programs share, sealed in its row."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any

from valetkey.errors import InvalidArguments, NotFound, VaultError
from valetkey.identity.workspaces import ENVIRONS
from valetkey.model.connections import Sealed
from valetkey.secret import Secret

if TYPE_CHECKING:
    from valetkey.model.workspaces import WorkspaceInfo
    from valetkey.vault.seal import Bound, Sealer

LONGEST = 8192
"""Characters of a value."""

MOST = 100
"""Variables of one workspace."""

LARGEST = 131_072
"""Characters that all of them may have, sealed: whoever asks what they may do in a workspace has its row read."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


class Environs:
    """Each value opens in its own workspace, under its own name, and nowhere else."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def put(self, row: WorkspaceInfo, name: object, value: object) -> None:
        """Set one in the row; None: there is none of that name any more.

        Raises:
            InvalidArguments: the name or the value can be none, or there are too many.
            KeyUnavailable: it cannot be sealed now.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidArguments("A variable's name is of letters, digits and low lines; at most 128 of them.")
        kept: dict[str, str] = dict(self._kept(row))
        if value is None:
            kept.pop(name, None)
        elif not isinstance(value, str) or len(value) > LONGEST:
            raise InvalidArguments(f"A variable's value is a text of at most {LONGEST} characters.")
        elif name not in kept and len(kept) >= MOST:
            raise InvalidArguments(f"A workspace has at most {MOST} variables.")
        else:
            sealed = self._sealer.seal(Secret(value), bound=_bound(row.id, name))
            kept[name] = base64.b64encode(sealed).decode()
            if sum(map(len, kept.values())) > LARGEST:
                raise InvalidArguments("The variables of this workspace are too large, all in all. Remove some.")
        row.config = {**row.config, ENVIRONS: kept}

    def get(self, row: WorkspaceInfo, name: object) -> str:
        """One value.

        Raises:
            NotFound: there is none of that name.
            KeyUnavailable, VaultError: it cannot be opened.
        """
        kept = self._kept(row)
        if not isinstance(name, str) or name not in kept:
            raise NotFound(f"Environment variable '{str(name)[:128]}' not found in workspace {row.id}")
        return self._opened(row, name, kept[name])

    def all(self, row: WorkspaceInfo) -> dict[str, str]:
        """All values by name.

        Raises:
            KeyUnavailable, VaultError: one cannot be opened.
        """
        return {name: self._opened(row, name, value) for name, value in sorted(self._kept(row).items())}

    def _opened(self, row: WorkspaceInfo, name: str, value: object) -> str:
        try:
            sealed = Sealed(base64.b64decode(str(value), validate=True))
        except binascii.Error:
            raise VaultError(f"The variable {name} of the workspace {row.id} was changed outside Valetkey.") from None
        return self._sealer.open(sealed, _bound(row.id, name)).reveal()

    @staticmethod
    def _kept(row: WorkspaceInfo) -> dict[str, Any]:
        found = row.config.get(ENVIRONS)
        return found if isinstance(found, dict) else {}


def _bound(workspace: str, name: str) -> Bound:
    return "environ", workspace, name
