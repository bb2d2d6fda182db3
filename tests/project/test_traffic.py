"""The guard of tests/conftest.py: loopback is reached, nothing else is."""

import socket

import pytest

PUBLIC = "192.0.2.7"  # RFC 5737: an address for documentation, nobody's


@pytest.fixture
def excused(traffic):
    """Let this test provoke what the guard remembers."""
    yield
    assert traffic, "the guard remembered nothing"
    traffic.clear()


def test_loopback_is_reached():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=5) as client,
    ):
        assert client.getpeername() == server.getsockname()


@pytest.mark.parametrize("host", [PUBLIC, "::ffff:192.0.2.7", "2001:db8::1"])
def test_connecting_elsewhere_is_refused(host, excused):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock, pytest.raises(RuntimeError, match=r"socket\.connect"):
        sock.connect((host, 80))


def test_sending_elsewhere_is_refused(excused):
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        pytest.raises(RuntimeError, match=r"socket\.sendto"),
    ):
        sock.sendto(b"x", (PUBLIC, 53))


def test_a_name_is_not_looked_up(excused):
    with pytest.raises(RuntimeError, match=r"socket\.getaddrinfo"):
        socket.getaddrinfo("slack.example", 443)


@pytest.mark.parametrize("host", ["", "0.0.0.0"])  # noqa: S104 - binding everywhere is what is refused
def test_listening_for_others_is_refused(host, excused):
    with socket.socket() as sock, pytest.raises(RuntimeError, match=r"socket\.bind"):
        sock.bind((host, 0))


def test_each_test_has_a_home_that_is_not_made_yet(home):
    assert not home.exists()
    assert home.is_relative_to(home.home())
