"""Folders with tools, and git repositories of them; one is served over HTTP by git's own program."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
ECHO = "import json, sys\nprint('echo ' + json.load(sys.stdin)['text'])\n"
SEES = "import json, os\nprint(json.dumps(dict(os.environ)))\n"


def described(**more) -> dict:
    """A pocket.json; a None takes a key away."""
    whole = {
        "tool": {"name": "my_tool", "description": "Says it again.", "inputSchema": SCHEMA},
        "language": "python",
        "entrypoint": {"run": "python main.py"},
        **more,
    }
    return {key: value for key, value in whole.items() if value is not None}


def write_tool(folder: Path, code: str = ECHO, **more) -> Path:
    """A tool's folder, as `devtool create-tool-template` makes one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pocket.json").write_text(json.dumps(described(**more)), "utf-8")
    (folder / "main.py").write_text(code, "utf-8")
    return folder


def git(folder: Path, *arguments: str) -> str:
    """Run git for somebody who has no settings."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    argv = ["git", "-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false", "-c", "core.symlinks=true"]
    ended = subprocess.run(
        [*argv, *arguments], cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=30
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def commit(folder: Path) -> str:
    """Commit all that is there; the commit's id."""
    if not (folder / ".git").is_dir():
        git(folder, "init", "--quiet")
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "--message", "a change")
    return git(folder, "rev-parse", "HEAD")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The URL of the repositories below a folder, by ``git http-backend``."""
    program = Path(git(folder, "--exec-path")) / "git-http-backend"

    class Backend(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            environ = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_COUNT": "2",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
                "GIT_CONFIG_KEY_1": "uploadpack.allowReachableSHA1InWant",
                "GIT_CONFIG_VALUE_1": "true",
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "PATH_INFO": parts.path,
                "QUERY_STRING": parts.query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "REMOTE_ADDR": "127.0.0.1",
            }
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = subprocess.run([program], input=body, env=environ, capture_output=True, check=False).stdout
            head, _, rest = answer.partition(b"\r\n\r\n")
            lines = [line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line]
            status = next((int(value.split()[0]) for name, value in lines if name == "Status"), 200)
            self.send_response(status)
            for name, value in lines:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(rest)

        do_POST = do_GET  # noqa: N815  # the base class's names

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
