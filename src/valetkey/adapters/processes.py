"""Programs of somebody else's: a clean environment, limits, and an end that nothing of them outlives."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess  # noqa: TID251  # this is that port
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from valetkey.adapters.launcher import below
from valetkey.adapters.tool_files import copy_of
from valetkey.errors import ToolFailed, ValetkeyError
from valetkey.ports.processes import Ended, Job
from valetkey.ports.world import Clock

MOST = 32
"""Programs at once in this process; further ones wait for one to end."""

GRACE = 2.0
"""Seconds that a program has to end by itself after it was told to (SIGTERM)."""

SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin")

_LAUNCHER = str(Path(__file__).with_name("launcher.py"))
_KILLED = 137
_FILE = 268_435_456  # bytes of one file that it writes
_FILES = 1024  # open at once
_CHUNK = 65_536
_free = threading.BoundedSemaphore(MOST)


_lifelines: set[int] = set()


def _forget() -> None:
    """A forked child has none of its parent's programs, and does not keep one of them alive."""
    global _free  # noqa: PLW0603  # one for each process
    _free = threading.BoundedSemaphore(MOST)
    while _lifelines:
        with contextlib.suppress(OSError):
            os.close(_lifelines.pop())


os.register_at_fork(after_in_child=_forget)


class ProgramRunner:
    """See ``Processes``. Each run has a thread that waits, so it is for any loop.

    Args:
        clock: for deadlines.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def run(self, job: Job) -> Ended:
        """Run it in a process of its own. Cancelling ends it, and all that it started.

        Raises:
            Denied: the files in its folder are not those that were approved.
            ToolFailed: it cannot be started.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Ended] = loop.create_future()
        stop = _Stop()

        def settle(result: Ended | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            elif result is not None:
                future.set_result(result)

        def work() -> None:
            result, error = None, None
            try:
                result = self._whole(job, stop)
            except BaseException as raised:  # noqa: BLE001  # whatever it is, it belongs to who called
                error = raised
            with contextlib.suppress(RuntimeError):  # that loop has ended
                loop.call_soon_threadsafe(lambda: settle(result, error))

        threading.Thread(target=work, name="valetkey-program", daemon=True).start()
        try:
            return await future
        finally:
            stop.set()

    def block(self, job: Job) -> Ended:
        """The same, and this thread waits."""
        return self._whole(job, _Stop())

    def _whole(self, job: Job, stop: _Stop) -> Ended:
        with _free:
            if stop.wanted:
                return Ended(status=0, output=b"", errors=b"", late=True)
            made = Path(tempfile.mkdtemp(prefix="valetkey-"))
            try:
                folder = Path(job.folder)
                if job.digest:
                    folder = copy_of(folder, job.digest, made / "tool")
                own = made / "home"
                own.mkdir(mode=0o700)
                return self._run(job, folder, own, stop)
            except ValetkeyError:
                raise  # a Denied is an OSError too
            except OSError as error:
                raise ToolFailed(f"The program cannot be started: {error.strerror or type(error).__name__}.") from None
            finally:
                shutil.rmtree(made, ignore_errors=True)

    def _run(self, job: Job, folder: Path, own: Path, stop: _Stop) -> Ended:
        held, lifeline = os.pipe()
        _lifelines.add(lifeline)
        end = _once(lambda: _cut(lifeline))
        try:
            process = _start(job, folder, held)
            # Not its arguments, which everybody on this machine can read; and not its environment, which is ours.
            _tell(lifeline, _environ(job, own))
        except BaseException:
            end()
            raise
        finally:
            os.close(held)
        stop.at(end)
        try:
            return self._follow(process, job, stop)
        finally:
            stop.set()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2 * GRACE)
            _end(process)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()

    def _follow(self, process: subprocess.Popen[bytes], job: Job, stop: _Stop) -> Ended:
        until = self._clock.monotonic() + job.deadline
        late, body = False, memoryview(job.body)
        output, errors = _Kept(job.output, last=False), _Kept(job.errors, last=True)
        with selectors.DefaultSelector() as selector:
            for stream, kept in ((process.stdout, output), (process.stderr, errors)):
                if stream is not None:
                    os.set_blocking(stream.fileno(), False)
                    selector.register(stream, selectors.EVENT_READ, kept)
            if process.stdin is not None:
                os.set_blocking(process.stdin.fileno(), False)
                selector.register(process.stdin, selectors.EVENT_WRITE)
            while selector.get_map():
                left = until - self._clock.monotonic()
                if left <= 0:
                    if late:  # it was ended, and something holds on to its pipes all the same
                        _end(process)
                        break
                    late, until, left = True, until + 2 * GRACE, 2 * GRACE
                    stop.set()
                for key, _ in selector.select(left):
                    if key.data is None:
                        body = _write(key.fd, body)
                        done = not body
                    else:
                        done = not key.data.read(key.fd)
                    if done:
                        selector.unregister(key.fileobj)
                        key.fileobj.close()  # type: ignore[union-attr]
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        return Ended(
            status=_KILLED if process.returncode is None else process.returncode,
            output=bytes(output.held),
            errors=bytes(errors.held),
            cut=output.cut,
            errors_cut=errors.cut,
            late=late,
        )


class _Stop:
    """Ends a program, from any thread, once there is one."""

    def __init__(self) -> None:
        self.wanted = False
        self._lock = threading.Lock()
        self._end: Callable[[], None] | None = None

    def set(self) -> None:
        with self._lock:
            self.wanted = True
            if self._end is not None:
                self._end()

    def at(self, end: Callable[[], None]) -> None:
        with self._lock:
            self._end = end
            if self.wanted:
                end()


class _Kept:
    """The beginning of what is written, or its end; all of it is read, so that who writes is never held up."""

    def __init__(self, most: int, *, last: bool) -> None:
        self.held = bytearray()
        self.cut = False
        self._most = most
        self._last = last

    def read(self, descriptor: int) -> bool:
        """Whether there may be more."""
        try:
            chunk = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return True
        self.held += chunk
        if len(self.held) > self._most:
            self.cut = True
            if self._last:
                del self.held[: -self._most]
            else:
                del self.held[self._most :]
        return bool(chunk)


def _write(descriptor: int, body: memoryview) -> memoryview:
    try:
        return body[os.write(descriptor, body[:_CHUNK]) :] if body else body
    except BlockingIOError:
        return body
    except OSError:
        return body[:0]  # it does not read on


def _once(work: Callable[[], None]) -> Callable[[], None]:
    left = [work]
    return lambda: left.pop()() if left else None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a launcher that does not end by itself, since something stopped it, and what is below it."""
    if process.poll() is not None:
        return
    left = below(process.pid)
    process.kill()
    process.wait()
    for each in left:
        with contextlib.suppress(OSError):
            os.kill(each, signal.SIGKILL)


def _tell(lifeline: int, environ: Mapping[str, str]) -> None:
    rest = memoryview(json.dumps(dict(environ)).encode() + b"\n")
    with contextlib.suppress(BrokenPipeError):  # it has ended already, and says why
        while rest:
            rest = rest[os.write(lifeline, rest) :]


def _cut(lifeline: int) -> None:
    """Told, not only closed: a process that was forked meanwhile may hold the pipe open."""
    if lifeline not in _lifelines:
        return
    _lifelines.discard(lifeline)
    with contextlib.suppress(BrokenPipeError):
        os.write(lifeline, b"end")
    os.close(lifeline)


def _start(job: Job, folder: Path, held: int) -> subprocess.Popen[bytes]:
    limits = {"CORE": 0, "FSIZE": _FILE, "NOFILE": _FILES, "CPU": int(job.deadline) + 1}
    if job.memory:
        limits["AS"] = job.memory
    told = {"argv": job.argv, "limits": limits, "lifeline": held, "grace": GRACE}
    return subprocess.Popen(
        [sys.executable, "-I", "-S", _LAUNCHER, json.dumps(told)],
        cwd=folder,
        env={"PATH": os.pathsep.join(SYSTEM_PATH), "LANG": "C.UTF-8"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        pass_fds=(held,),
        start_new_session=True,
    )


def _environ(job: Job, own: Path) -> Mapping[str, str]:
    base = {"HOME": str(own), "TMPDIR": str(own), "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**job.environ, **base, "PATH": os.pathsep.join((*job.path, *SYSTEM_PATH))}


def find_program(name: str, *, path: str) -> str | None:
    """Where a program of that name is, by our own PATH."""
    return shutil.which(name, path=path)
