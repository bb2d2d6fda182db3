"""Measure ours beside others, in turns on one machine, and write bench/RESULTS.md. A benchmark never fails a build.

    python bench/run.py            all of it
    python bench/run.py tool-call  one of it; the other parts of the page stay as they are
    python bench/run.py --small    as a try; the page stays as it is

Peers are installed into environments of their own below bench/.envs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import inject
import jwt_tokens
import openapi_call
import refresh_herd
import refresh_rate
import results
import servers
import service_calls
import sockets
import vault_scale
from results import ROUNDS, Part, Row

HERE = Path(__file__).resolve().parent
HYPERPOCKET = "0.5.7"
FASTMCP = "4.1.2"
HYPHA = "0.21.137"
HYPHA_NEEDS = ("aiobotocore", "sqlmodel<0.0.30", "sqlalchemy<2.1")
"""What its server needs besides, and does not name, or not in the versions that it runs with."""


def peer(name: str, pinned: str, *needs: str) -> Path:
    """The Python of an environment that holds one peer, and what it needs besides, made at first need."""
    folder = HERE / ".envs" / name
    python = folder / "bin" / "python"
    stamp = folder / f"{pinned}{'-with-needs' if needs else ''}.installed"
    if not stamp.exists():
        print(f"installing {name} {pinned} into {folder.relative_to(HERE.parent)} …", flush=True)
        if not python.exists():
            venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", f"{name}=={pinned}", *needs], check=True)
        stamp.touch()
    return python


def measured(python: Path, script: str, *args: str) -> float:
    """The number that a script prints last, as JSON."""
    with TemporaryDirectory() as folder:
        environment = {**os.environ, "HOME": folder, "VALETKEY_HOME": f"{folder}/.valetkey"}
        ended = subprocess.run(
            [python, HERE / "peers" / script, *args],
            cwd=folder,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=300,
        )
    return float(json.loads(ended.stdout.strip().splitlines()[-1]))


def in_turns(ours: Callable[[], float], other: Callable[[], float], *, small: bool) -> tuple[list[float], list[float]]:
    """A B A B …; one round of each beforehand, which does not count."""
    rounds = 1 if small else ROUNDS
    a: list[float] = []
    b: list[float] = []
    for round_ in range(rounds + 1):
        print(f"  round {round_}/{rounds}", end="\r", flush=True)
        left, right = ours(), other()
        if round_:
            a.append(left)
            b.append(right)
    return a, b


def tool_call(*, small: bool) -> Part:
    """Pocket.ainvoke of a function tool whose account is there and fresh."""
    python = peer("hyperpocket", HYPERPOCKET)
    me = Path(sys.executable)
    rows = []
    for kind in ("sync", "async"):
        for store, goal in (("in_memory", 8.0), ("sqlite", 3.0)):
            a, b = in_turns(
                lambda store=store, kind=kind: measured(me, "tool_call_valetkey.py", store, kind),
                lambda kind=kind: measured(python, "tool_call_hyperpocket.py", kind),
                small=small,
            )
            x, y = statistics.median(a), statistics.median(b)
            rows.append(Row(f"tool-call, {store}, {kind} tool", f"{x:,.0f} calls/s", f"{y:,.0f} calls/s", x / y, goal))
    return Part(rows, beside=f"hyperpocket {HYPERPOCKET}")


def jwt_checks(name: str, alg: str, path: str) -> float:
    """Tokens per second of that algorithm, by ours or by that peer."""
    me = Path(sys.executable)
    how: dict[str, tuple[Path, str, list[str]]] = {
        "valetkey": (me, "jwt_valetkey.py", ["once"]),
        "valetkey-again": (me, "jwt_valetkey.py", ["again"]),
        "fastmcp": (peer("fastmcp", FASTMCP), "jwt_fastmcp.py", []),
        "hypha": (peer("hypha", HYPHA), "jwt_hypha.py", []),
        "pyjwt": (me, "jwt_pyjwt.py", []),
        "bare": (me, "jwt_bare.py", []),
    }
    python, script, more = how[name]
    return measured(python, script, alg, path, *more)


def jwt(*, small: bool) -> Part:
    """A signed token of 1 KB, its issuer's key known, to a UserInfo; beside others, and beside the bare check."""
    part = jwt_tokens.first_time(jwt_checks, small=small)
    return replace(part, beside=_jwt_peers("fastmcp", "hypha"))


def jwt_again(*, small: bool) -> Part:
    """The same token presented again: what was verified is remembered, and its end and revocation still hold."""
    return replace(jwt_tokens.again(jwt_checks, small=small), beside=_jwt_peers("fastmcp"))


def _jwt_peers(*names: str) -> str:
    pinned = {"fastmcp": FASTMCP, "hypha": HYPHA}
    libraries = (f"{name} {version(name)}" for name in ("pyjwt", "cryptography"))
    return ", ".join([*(f"{name} {pinned[name]}" for name in names), *libraries])


def imports(*, small: bool) -> Part:
    """Wall time of importing, in a process of its own."""
    python = peer("hyperpocket", HYPERPOCKET)

    def timed(binary: Path, *arguments: str) -> float:
        with TemporaryDirectory() as folder:
            environment = {**os.environ, "HOME": folder}
            began = time.perf_counter()
            subprocess.run([binary, *arguments], cwd=folder, env=environment, check=True, capture_output=True)
            return time.perf_counter() - began

    rows = []
    measured_goals = {
        "`import valetkey`": (("-c", "import valetkey"), 0.125),
        "`valetkey --help`": (("-m", "valetkey", "--help"), 0.125),
        "`from valetkey import Pocket`": (("-c", "from valetkey import Pocket"), 0.3),
    }
    for name, (arguments, goal) in measured_goals.items():
        a, b = in_turns(
            lambda arguments=arguments: timed(Path(sys.executable), *arguments),
            lambda: timed(python, "-c", "import hyperpocket"),
            small=small,
        )
        x, y = statistics.median(a), statistics.median(b)
        rows.append(
            Row(f"import: {name}", f"{x * 1000:.0f} ms", f"{y * 1000:.0f} ms", x / y, goal, more_is_better=False)
        )
    return Part(rows, beside=f"hyperpocket {HYPERPOCKET}")


def in_process(*, small: bool) -> Part:
    """A tool call of a chat into its own app, all the way down the road; beside the bare request in process."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("fastapi", "httpx2"))
    me = Path(sys.executable)
    return openapi_call.measure(lambda how: measured(me, "openapi_call.py", how), beside=libraries, small=small)


def http_call(*, small: bool) -> Part:
    """A service in a connected client, called over HTTP with a bearer token and keep-alive, by 1, 8 and 32 clients."""
    return service_calls.http_call(_hypha(), beside=f"hypha {HYPHA}", small=small)


def rpc_call(*, small: bool) -> Part:
    """A client calls a service of another over the RPC WebSocket, both of the real package; 1 and 16 in flight."""
    return service_calls.rpc_call(_hypha(), beside=f"hypha {HYPHA}", small=small)


def memory(*, small: bool) -> Part:
    """What the server's process has more of memory after many HTTP calls of a service than before the first one."""
    return service_calls.memory(_hypha(), beside=f"hypha {HYPHA}", small=small)


def _hypha() -> service_calls.Start:
    return servers.hypha(peer("hypha", HYPHA, *HYPHA_NEEDS))


def injected(*, small: bool) -> Part:
    """A GET of 2 KB from a provider on loopback: policy, vault, origin check, credential, scrubbing; at p50."""
    me = Path(sys.executable)
    beside = f"httpx2 {version('httpx2')}, bare"
    return inject.measure(lambda *how: measured(me, "inject.py", *how), beside=beside, small=small)


BENCHMARKS: dict[str, Callable[..., Part]] = {
    "tool-call": tool_call,
    "openapi-call": in_process,
    "inject": injected,
    "jwt": jwt,
    "jwt-again": jwt_again,
    "http-call": http_call,
    "rpc-call": rpc_call,
    "memory": memory,
    "import": imports,
    "refresh-herd": refresh_herd.measure,
    "vault-scale": vault_scale.measure,
    "refresh-rate": refresh_rate.measure,
    "sockets": sockets.measure,
}


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("name", nargs="?", choices=[*BENCHMARKS, ""], default="")
    parser.add_argument("--small", action="store_true", help="small sizes, to try a benchmark; nothing is written")
    asked = parser.parse_args()
    measured, plots = {}, {}
    for name, benchmark in BENCHMARKS.items():
        if not asked.name or name == asked.name:
            caption = benchmark.__doc__ or ""
            print(f"{name}: {caption}", flush=True)
            part = benchmark(small=asked.small)
            measured[name] = results.section(name, caption, part)
            if part.plot:
                plots[name] = part.plot
            print(measured[name], flush=True)
    if not asked.small:
        results.keep(list(BENCHMARKS), measured, plots)


if __name__ == "__main__":
    main()
