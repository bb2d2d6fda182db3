"""valetkey vault rotate: a new key, everything sealed anew with it, and the old ones gone."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

from valetkey.cli.output import console
from valetkey.cli.vault import GO_ON, count, lost, needed_by, opened
from valetkey.entrypoints.render import exit_status
from valetkey.errors import KeyUnavailable, VaultError

if TYPE_CHECKING:
    from valetkey.vault.reseal import Progress
    from valetkey.wiring.system import System

NOTICED = 5.0
"""Seconds until every process writes with a new key."""

SETTLED = 60.0
"""Seconds until whatever was being written with an old key is in the database."""

_SAY_EVERY = 2.0  # seconds between two lines of progress in a pipe


def rotate(*, reseal_only: bool, drop_old: bool) -> int:
    """Add a key, seal everything anew with it, and remove what is not needed any more; say what happens.

    Raises:
        KeyUnavailable: the keys cannot be read, or are changed by hand.
        StoreUnavailable: the database cannot be used; what is done stays done.
        VaultError: rows could not be opened, and stay as they are.
    """
    with opened() as system:
        try:
            return system.home.block(lambda: _rotate(system, reseal_only=reseal_only, drop_old=drop_old))
        except KeyboardInterrupt:
            print(f"What is sealed anew stays so. Go on with: {GO_ON}", file=sys.stderr)
            raise


async def _rotate(system: System, *, reseal_only: bool, drop_old: bool) -> int:
    keyring = system.sealer.keyring
    keyring.reload()
    if not reseal_only:
        key = keyring.source.add()
        keyring.reload()
        _say(f"Added the key {key.id} to {keyring.source.name}. Keep a copy: what it seals opens with no other key.")
        _say(f"Waiting {NOTICED:.0f} s, until every process writes with it.")
        await system.clock.sleep(NOTICED)
    newest = keyring.newest
    progress = await _walk(system)
    if progress.done:
        done = "1 row" if progress.done == 1 else f"{progress.done:,} rows"
        _say(f"Sealed {done} anew with the key {newest}.")
    elif not progress.failed:
        _say(f"The key {newest} sealed everything that is stored.")
    kept = await _drop(system) if drop_old else 0
    if not drop_old and len(keyring.ids()) > 1 and not progress.failed:
        _say(f"The older keys still open. Remove those that are not needed any more: {GO_ON} --drop-old")
    for key_id, rows in progress.lost.items():
        _say(lost(key_id, rows))
    if progress.failed:
        damaged = f" {count(progress.damaged)} damaged; the log names them." if progress.damaged else ""
        raise VaultError(f"{count(progress.failed)} still sealed as before, for they cannot be opened.{damaged}")
    if progress.left:
        raise VaultError(f"{progress.left:,} rows were changed again and again meanwhile. Go on with: {GO_ON}")
    return kept


async def _walk(system: System) -> Progress:
    """Walk; while another process does, watch it, and go on when it has ended."""
    from valetkey.wiring.keys import resealer

    watched: int | None = None
    while True:
        with _Screen(system) as screen:
            progress = await resealer(system).walk(screen.tell)
        if progress.led:
            return progress
        newest = system.sealer.keyring.newest
        keys = await system.stores.connections.keys()
        left = sum(rows for key_id, rows in keys.items() if key_id != newest)
        if watched is None:
            _say("Another process is sealing rows anew, or was ended a moment ago. Watching it.")
        if left != watched:
            _say(f"  {left:,} connections left")
        watched = left
        await system.clock.sleep(1)


async def _drop(system: System) -> int:
    """Remove the keys that nothing needs; the exit status."""
    from valetkey.wiring.keys import holdings

    keyring = system.sealer.keyring
    keys = keyring.source.keys()
    if len(keys) == 1:
        _say("There is no older key to remove.")
        return 0
    age = system.clock.now() - keys[0].created_at
    if age < SETTLED:
        left = SETTLED - max(age, 0.0)
        _say(f"Waiting {left:.0f} s, until whatever a slow process was writing with an older key is stored.")
        await system.clock.sleep(left)
    await _walk(system)
    held = await holdings(system).count(thorough=True)
    status = 0
    for key in keys[1:]:
        needs = needed_by(held[key.id]) if key.id in held else ""
        if needs:
            _say(f"Kept the key {key.id}: {needs}.")
            continue
        try:
            keyring.source.remove(key.id)
        except KeyUnavailable as error:
            _say(error.message)
            status = exit_status(error)
        else:
            _say(f"Removed the key {key.id}: nothing needs it any more. Keep its copy as long as backups need it.")
    keyring.reload()
    return status


def _say(text: str) -> None:
    console().print(text, soft_wrap=True)


class _Screen:
    """How far the walk is: a bar on a terminal, now and then a line in a pipe."""

    def __init__(self, system: System) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        out = console()
        self._ticks = system.clock.monotonic
        self._said_at = self._ticks()
        self._lines = not out.is_terminal
        self._bar = Progress(
            TextColumn("Sealing anew"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=out,
            disable=self._lines,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def tell(self, progress: Progress) -> None:
        """Show it."""
        total = progress.done + progress.left
        self._bar.update(self._task, completed=progress.done, total=total)
        if self._lines and self._ticks() - self._said_at >= _SAY_EVERY:
            self._said_at = self._ticks()
            _say(f"  {progress.done:,} of {total:,} rows sealed anew")
