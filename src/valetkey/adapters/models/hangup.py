"""An answer that is given up ends at once for boto3's thread and for Bedrock, too: its connection is cut."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)

_USED: ContextVar[list[Any] | None] = ContextVar("valetkey_connections", default=None)


class _Noted:
    """A connection that tells which request it is used for."""

    used_by: list[Any] | None = None

    def request(self, *args: Any, **kwargs: Any) -> Any:
        self.used_by = used = _USED.get()
        if used is not None:
            used.append(self)
        return super().request(*args, **kwargs)  # type: ignore[misc]  # botocore's, beside which this stands


class _Plain(_Noted, AWSHTTPConnection):  # type: ignore[misc]  # botocore's stubs disagree with their bases
    pass


class _Secure(_Noted, AWSHTTPSConnection):  # type: ignore[misc]  # as above
    pass


class _PlainPool(AWSHTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(AWSHTTPSConnectionPool):
    ConnectionCls = _Secure


def note_connections(client: Any) -> None:
    """Let a client of boto3 tell its connections; of one built in another way they end by their time-out."""
    with suppress(AttributeError):
        client._endpoint.http_session._pool_classes_by_scheme.update(http=_PlainPool, https=_SecurePool)  # noqa: SLF001  # there is no public way


@contextmanager
def hanging_up() -> Iterator[None]:
    """What is cancelled in here hangs up. boto3's thread, which cannot be cancelled, would wait for the answer else."""
    used: list[Any] = []
    token = _USED.set(used)
    try:
        yield
    except asyncio.CancelledError:
        for connection in used:
            if connection.used_by is used and connection.sock is not None:
                with suppress(OSError):  # it has ended by itself
                    socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)
        raise
    finally:
        _USED.reset(token)
