"""Run every gate, one line each; what a failing one said is printed below it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tools.generated import ROOT

BIN = Path(sys.executable).parent
GATES: dict[str, list[str]] = {
    "format": [str(BIN / "ruff"), "format", "--check", "."],
    "lint": [str(BIN / "ruff"), "check", "."],
    "imports": [str(BIN / "lint-imports"), "--no-logo"],
    "architecture": [sys.executable, "-m", "tools.architecture", "--check"],
    "requirements": [sys.executable, "-m", "tools.requirements_manifest", "--check"],
    "reference": [sys.executable, "-m", "tools.reference", "--check"],
    "committed": [sys.executable, "-m", "tools.committed"],
    "types": [sys.executable, "-m", "mypy"],
}


def main(names: list[str]) -> int:
    """Run the gates named, or all; 0 when none has anything to report."""
    unknown = set(names) - set(GATES)
    if unknown:
        print(f"no such gate: {', '.join(sorted(unknown))}; there are {', '.join(GATES)}", file=sys.stderr)
        return 2
    return max(gate(name) for name in names or GATES)


def gate(name: str) -> int:
    """Run one gate and print its line."""
    print(f"{name:<13}", end="", flush=True)
    began = time.monotonic()
    ended = subprocess.run(GATES[name], cwd=ROOT, check=False, capture_output=True, text=True)
    took = time.monotonic() - began
    print(f"{'FAILED' if ended.returncode else 'ok'} ({took:.1f} s)", flush=True)
    if ended.returncode:
        print(ended.stdout + ended.stderr, flush=True)
    return int(ended.returncode != 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
