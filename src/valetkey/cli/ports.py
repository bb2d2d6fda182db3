"""A port of this machine that nobody listens on."""

from __future__ import annotations

import errno
import socket

_TRIES = 16
_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}


def free_port(wanted: int) -> int:
    """That port, if nobody listens there on this machine; otherwise, and for 0, one that is free."""
    if wanted and _is_free(wanted):
        return wanted
    for _ in range(_TRIES):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if _is_free(port):
            return port
    return wanted


def _is_free(port: int) -> bool:
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, port))
        except OSError as error:
            if error.errno not in _NO_IPV6:
                return False
    return True
