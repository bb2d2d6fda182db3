"""What commands share that keep accounts and tokens: the rooms of the server, and passwords."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from valetkey.cli.output import plain

if TYPE_CHECKING:
    from valetkey.model.accounts import Account
    from valetkey.secret import Secret
    from valetkey.wiring.identity import Identity

BY = "command line"
"""Who did it, as the audit log and the list name whoever may run commands here."""

_LARGEST = 4096
_DURATION = re.compile(r"([1-9][0-9]{0,8})([smhd]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


@contextmanager
def opened_identity(*, public_base_url: str | None = None) -> Iterator[Identity]:
    """The rooms of the server that these settings describe; what is done is in the audit log when this ends.

    ``public_base_url`` goes before that of the settings, as the server's own option does.

    Raises:
        InvalidSetting: nothing is kept.
    """
    from valetkey.errors import InvalidSetting
    from valetkey.settings.server import load_server
    from valetkey.wiring.build import build
    from valetkey.wiring.identity import open_identity
    from valetkey.wiring.serving import base_url_of

    keywords = {} if public_base_url is None else {"server.public_base_url": public_base_url}
    settings = load_server(Path.cwd(), os.environ, keywords=keywords)
    base_url = base_url_of(settings.serving, settings.serving.port)
    system = build(settings.config)
    try:
        if not system.stores.kept:
            raise InvalidSetting(
                "With session_type in_memory nothing is kept. Take the setting session.session_type out, or run this"
                " where the accounts are kept."
            )
        identity = open_identity(system, settings.identity, base_url=base_url)
        yield identity
        system.home.block(identity.close)
    finally:
        system.close()


def account_named(identity: Identity, name: str) -> Account:
    """The account that ``--user`` names, with or without ``local|``.

    Raises:
        NotFound: there is none.
    """
    from valetkey.errors import NotFound
    from valetkey.model.accounts import PREFIX

    name = name.removeprefix(PREFIX)
    found = identity.system.home.block(lambda: identity.accounts.get(name))
    if found is None:
        wanted = plain(name)
        raise NotFound(
            f"There is no account {wanted!r}. Make it: valetkey users add {shlex.quote(wanted)}, or see those that"
            " there are: valetkey users list"
        )
    return found


def read_password() -> Secret:
    """A password as a person types it twice, unseen; or the first line of standard input.

    Raises:
        InvalidArguments: the two differ, or there is none.
    """
    from valetkey.errors import InvalidArguments
    from valetkey.secret import Secret

    if not sys.stdin.isatty():
        line = sys.stdin.read(_LARGEST).partition("\n")[0].rstrip("\r")
        if not line:
            raise InvalidArguments("Standard input is empty. Its first line has to be the password; or use --generate.")
        return Secret(line)
    given = Secret(getpass.getpass("Password (not shown): "))
    if Secret(getpass.getpass("The same again: ")) != given:
        raise InvalidArguments("The two passwords differ. Nothing was changed.")
    return given


def seconds_of(text: str) -> float:
    """A time such as ``3600``, ``90m``, ``12h`` or ``30d``, in seconds.

    Raises:
        InvalidArguments: it is none.
    """
    from valetkey.errors import InvalidArguments

    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise InvalidArguments(f"{plain(text)!r} is no time. Write seconds, or such as 90m, 12h, 30d.")
    return float(found[1]) * _UNITS[found[2]]


def moment_of(at: float | None) -> str:
    """A time for a table; empty: never, or not yet."""
    if at is None:
        return ""
    with contextlib.suppress(ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
    return ""
