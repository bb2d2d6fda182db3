"""A WebSocket's reading: on behind a short message, not behind a long one or two."""

import pytest
import uvicorn
from uvicorn.server import ServerState

from valetkey.adapters.sockets import SHORT, SocketProtocol, served


async def nobody(scope, receive, send):
    """The app, which is not asked."""


class Transport:
    """Notes whether it is read."""

    def __init__(self):
        self.asked = []

    def pause_reading(self):
        self.asked.append("pause")

    def resume_reading(self):
        self.asked.append("resume")


@pytest.fixture
async def socket():
    config = uvicorn.Config(nobody, log_config=None, **served(message=10 * SHORT))
    protocol = SocketProtocol(config, ServerState(), {})
    protocol.transport = Transport()  # type: ignore[assignment]
    return protocol


def come(socket, size):
    socket.frames = [b"x" * size]
    socket.send_receive_event_to_app()


async def test_behind_one_short_message_it_is_read_on(socket):
    for _ in range(3):
        come(socket, 10)
        assert len((await socket.receive())["bytes"]) == 10
    assert socket.transport.asked == []


async def test_behind_a_second_one_it_is_not(socket):
    come(socket, 10)
    come(socket, 10)
    assert socket.transport.asked == ["pause"]
    await socket.receive()
    assert socket.transport.asked == ["pause"]
    await socket.receive()
    assert socket.transport.asked == ["pause", "resume"]


async def test_nor_behind_a_long_one(socket):
    come(socket, SHORT + 1)
    assert socket.transport.asked == ["pause"]
