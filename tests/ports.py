"""Ports that a test tells to somebody before anybody listens there, so that they have to stay free until then."""

import itertools
import os
import socket
from collections.abc import Iterator

FIRST, LAST = 20_000, 32_000
"""Below those that a system hands out by itself, to every client's end of a connection."""

SHARE = 1_500
"""Ports of one worker of a run: no two workers take the same one."""


def _numbers() -> Iterator[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    start = FIRST + worker * SHARE % (LAST - FIRST)
    begin = os.getpid() % SHARE  # two runs on one machine do not begin at the same one
    return (start + number % SHARE for number in itertools.count(begin))


_next = _numbers()


def free_port() -> int:
    """A port that nobody listens on, in either address family, and that nobody is given by chance."""
    for port in itertools.islice(_next, SHARE):
        if all(_is_free(family, address, port) for family, address in _LOOPBACK):
            return port
    raise RuntimeError(f"no port is free between {FIRST} and {LAST}")


_LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


def _is_free(family: socket.AddressFamily, address: str, port: int) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address, port))
    except OSError as error:
        return family == socket.AF_INET6 and not isinstance(error, PermissionError) and "in use" not in str(error)
    return True
