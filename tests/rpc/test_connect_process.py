"""`valetkey serve` as a process of its own: it has clients, sends them away in order, and starts without the extra."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.server.process import running

WITHOUT = """
import sys
for name in ("msgpack", "hypha_rpc", "websockets"):
    sys.modules[name] = None
from valetkey.cli.main import main
sys.argv = ["valetkey", "serve", "--port", "0"]
main()
"""
COLD = """
import sys
import valetkey
from valetkey.cli.main import main
sys.argv = ["valetkey", "--help"]
try:
    main()
except SystemExit:
    pass
print([name for name in ("msgpack", "hypha_rpc", "websockets", "numpy") if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.requirement("hypha.2.errors")
def test_a_server_that_is_told_to_stop_sends_its_clients_away_to_come_back() -> None:
    with running("--server-id=one") as server:
        server.line("listens on")
        with connect(f"ws://127.0.0.1:{server.port}/ws", proxy=None) as socket:
            socket.send(json.dumps({"client_id": "c1"}))
            assert json.loads(socket.recv(10))["manager_id"] == "manager-one"
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed):
                socket.recv(10)
            assert socket.close_code == 1012
        assert server.ended(10) == 0
        assert "Traceback" not in server.text


@pytest.mark.requirement("E1.extra")
def test_without_the_packages_for_clients_the_server_starts_and_says_so() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WITHOUT], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        told = []
        try:
            for line in process.stdout or ():
                told.append(line)
                if "listens on" in line:
                    process.terminate()
        finally:
            process.kill()
    text = "".join(told)
    assert text.count("pip install 'valetkey[services]'") == 1
    assert "listens on" in text


@pytest.mark.requirement("E1.extra")
def test_neither_the_package_nor_its_help_loads_what_clients_need() -> None:
    told = subprocess.run([sys.executable, "-c", COLD], capture_output=True, text=True, check=True, timeout=60)
    assert told.stderr.strip().splitlines()[-1] == "[]"
