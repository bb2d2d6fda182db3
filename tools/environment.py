"""Make an environment ready: `python3 tools/environment.py run|dev|crewai`. Quick when nothing changed.

It needs only Python. `run` and `dev` are .venv; crewai wants older packages than ours, and gets .venv-crewai.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APART = {"crewai": ".venv-crewai"}
MINIMUM = (3, 11)


def main(kind: str) -> int:
    """Create the environment, install what `kind` pins and the package itself; 0 when it is ready."""
    problem = unfit()
    if problem:
        print("environment: " + problem, file=sys.stderr)
        return 1
    # What `dev` installs holds what `run` does.
    enough = {kind} if kind in APART else {kind, "dev"}
    if any(stamp(each).is_file() and stamp(each).read_text() == wanted(each) for each in enough):
        return 0
    folder = venv(kind)
    if not works(python(kind)):
        print(f"environment: making {folder.name} with Python {sys.version.split()[0]}", flush=True)
        if run(sys.executable, "-m", "venv", "--clear", str(folder)):
            return 1
    lock = ROOT / "requirements" / f"{kind}.txt"
    print(f"environment: installing what requirements/{kind}.txt pins", flush=True)
    if pip(python(kind), "--require-hashes", "-r", str(lock)):
        return 1
    print("environment: installing valetkey from this folder", flush=True)
    if pip(python(kind), "--no-build-isolation", "-e", str(ROOT)):
        return 1
    stamp(kind).write_text(wanted(kind))
    print("environment: ready", flush=True)
    return 0


def unfit() -> str:
    """Say why this Python cannot be used, and what to do; nothing when it can."""
    if sys.version_info < MINIMUM:
        return (
            f"{sys.executable} is Python {sys.version.split()[0]}, and 3.11 or newer is needed; "
            "name another: make PYTHON=python3.12 …"
        )
    for name in ("ensurepip", "venv"):
        if importlib.util.find_spec(name) is None:
            return f"{sys.executable} lacks {name}; install it (Debian, Ubuntu: apt-get install python3-venv)"
    return ""


def venv(kind: str) -> Path:
    """The folder of that environment."""
    return ROOT / APART.get(kind, ".venv")


def python(kind: str) -> Path:
    """Its interpreter."""
    return venv(kind) / "bin" / "python"


def works(interpreter: Path) -> bool:
    """Whether this interpreter is there, starts, is new enough and has pip."""
    check = f"import pip, sys; sys.exit(sys.version_info < {MINIMUM})"
    return interpreter.exists() and not run(str(interpreter), "-c", check, quiet=True)


def wanted(kind: str) -> str:
    """Digest of all that the environment is made from."""
    digest = hashlib.sha256(str(ROOT).encode())
    for path in (ROOT / "requirements" / f"{kind}.txt", ROOT / "pyproject.toml"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def stamp(kind: str) -> Path:
    """The file that says what was installed last."""
    return venv(kind) / f".installed-{kind}"


def pip(interpreter: Path, *arguments: str) -> int:
    """Install with pip, one line of progress for ten packages; the end of its output when it fails."""
    command = [str(interpreter), "-m", "pip", "install", "--no-deps", "--no-input", "--disable-pip-version-check"]
    process = subprocess.Popen(
        [*command, *arguments], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said: list[str] = []
    fetched = 0
    for line in process.stdout or ():
        said.append(line)
        fetched += line.startswith("Collecting ")
        if line.startswith("Collecting ") and fetched % 10 == 0:
            print(f"environment: {fetched} packages fetched", flush=True)
    if process.wait():
        print("".join(said[-20:]), file=sys.stderr)
    return process.returncode


def run(*command: str, quiet: bool = False) -> int:
    """Run a program from the project's folder; its exit code."""
    sink = subprocess.DEVNULL if quiet else None
    return subprocess.run(command, cwd=ROOT, stdout=sink, stderr=sink, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "run"))
