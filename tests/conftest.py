"""What holds for every test: no traffic but loopback, a home of its own, the same random draws each time."""

import ipaddress
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import hypothesis.configuration
import pytest

ROOT = Path(__file__).resolve().parent.parent
REACHING = {"socket.connect": 1, "socket.bind": 1, "socket.sendto": 1, "socket.sendmsg": 1}
ASKING = {"socket.getaddrinfo": 0, "socket.gethostbyname": 0, "socket.gethostbyaddr": 0}
refused: list[str] = []

hypothesis.configuration.set_hypothesis_home_dir(ROOT / ".hypothesis")
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
hypothesis.settings.load_profile("ci")


class TrafficError(RuntimeError):
    """A test reached beyond loopback. Not an OSError: the code under test must not take it for an outage."""


def local(host: object) -> bool:
    """Whether a host, as given to a socket call, is on loopback or is no network address at all."""
    if isinstance(host, bytes | bytearray):
        host = host.decode("ascii", "replace")
    if host is None:
        return True
    try:
        address = ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return str(host).lower() == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def only_loopback(event: str, args: tuple[object, ...]) -> None:
    """Audit hook: refuse to connect, bind, send or resolve beyond loopback, and remember it."""
    if event in REACHING:
        address = args[REACHING[event]]
        host = address[0] if isinstance(address, tuple) else None  # a Unix socket's address is a path
    elif event in ASKING:
        host = args[ASKING[event]]
    else:
        return
    if not local(host):
        refused.append(f"{event} {host!r}")
        raise TrafficError(refused[-1])


sys.addaudithook(only_loopback)


@pytest.fixture(autouse=True)
def traffic() -> Iterator[list[str]]:
    """What the test reached for beyond loopback; it fails when anything is left here."""
    refused.clear()
    yield refused
    assert not refused, f"only loopback may be reached from a test: {refused}"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own data folder (not made yet), in an empty current folder, with no setting from outside."""
    for name in list(os.environ):
        if name.startswith(("VALETKEY_", "POCKET_", "BEDROCK_", "AWS_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    person, here = tmp_path / "person", tmp_path / "here"
    person.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(person))
    monkeypatch.setenv("VALETKEY_HOME", str(person / ".valetkey"))
    # A provider of the catalogue would be asked whose a pasted token is.
    monkeypatch.setenv("VALETKEY_AUTH__VERIFY_ACCOUNTS", "false")
    monkeypatch.chdir(here)
    return person / ".valetkey"
