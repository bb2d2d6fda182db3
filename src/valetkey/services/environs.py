"""A workspace's variables: values that its programs share, sealed in its row."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from valetkey.errors import InvalidArguments, NotFound, VaultError
from valetkey.secret import Secret
from valetkey.services.asking import OF_THE_WIRE
from valetkey.vault.variables import ENVIRONS, bound, read, variables_of, written

if TYPE_CHECKING:
    from valetkey.model.workspaces import WorkspaceInfo
    from valetkey.vault.seal import Sealer

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
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in OF_THE_WIRE:
            raise InvalidArguments(
                "A variable's name is of letters, digits and low lines; at most 128 of them; and not such as _rtype."
            )
        kept: dict[str, str] = variables_of(row.config)
        if value is None:
            kept.pop(name, None)
        elif not isinstance(value, str) or len(value) > LONGEST:
            raise InvalidArguments(f"A variable's value is a text of at most {LONGEST} characters.")
        elif name not in kept and len(kept) >= MOST:
            raise InvalidArguments(f"A workspace has at most {MOST} variables.")
        else:
            kept[name] = written(self._sealer.seal(Secret(value), bound=bound(row.id, name)))
            if sum(map(len, kept.values())) > LARGEST:
                raise InvalidArguments("The variables of this workspace are too large, all in all. Remove some.")
        row.config = {**row.config, ENVIRONS: kept}

    def get(self, row: WorkspaceInfo, name: object) -> str:
        """One value.

        Raises:
            NotFound: there is none of that name.
            KeyUnavailable, VaultError: it cannot be opened.
        """
        kept = variables_of(row.config)
        if not isinstance(name, str) or name not in kept:
            raise NotFound(f"Environment variable '{str(name)[:128]}' not found in workspace {row.id}")
        return self._opened(row, name, kept[name])

    def all(self, row: WorkspaceInfo) -> dict[str, str]:
        """All values by name.

        Raises:
            KeyUnavailable, VaultError: one cannot be opened.
        """
        return {name: self._opened(row, name, value) for name, value in sorted(variables_of(row.config).items())}

    def _opened(self, row: WorkspaceInfo, name: str, value: object) -> str:
        try:
            sealed = read(value)
        except VaultError:
            raise VaultError(f"The variable {name} of the workspace {row.id} was changed outside Valetkey.") from None
        return self._sealer.open(sealed, bound(row.id, name)).reveal()
