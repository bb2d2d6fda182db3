"""What is logged while a credential is lent is scrubbed, whoever logs it: the tool, its libraries, the app itself."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from valetkey.scrub import Scrubber
from valetkey.secret import MASK

SPOKEN: ContextVar[Scrubber | None] = ContextVar("valetkey_spoken", default=None)
"""Stars out what is lent now; of tasks and threads that the tool starts by asyncio, too."""

_FRAMES = ("uvicorn.error", "websockets")
_WORDS = ("auth", "cookie", "key", "protocol", "secret", "token")
_PLAIN = (str, bytes, int, float, bool, type(None))

_log = logging.getLogger("valetkey")
_lock = threading.Lock()
_state = {"installed": False}
_formatter = logging.Formatter()


class speaking:  # noqa: N801  # used as contextlib's own are; a generator would take twice as long
    """Within, what is logged has stars for these secrets, and for those of whoever is around it."""

    __slots__ = ("_before", "_scrubber")

    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber

    def __enter__(self) -> None:
        install()
        scrubber, around = self._scrubber, SPOKEN.get()
        if around is not None:
            scrubber = Scrubber(())
            scrubber.needles = [*self._scrubber.needles, *around.needles]
        self._before = SPOKEN.set(scrubber)

    def __exit__(self, *_: object) -> None:
        SPOKEN.reset(self._before)


def install() -> None:
    """From now on records of this process are scrubbed when they are made, before any handler sees them; once.

    What a WebSocket carries is not logged at DEBUG any more, and headers that hold credentials are starred there:
    the first frame of a chat holds a credential before anyone knows that it is one.
    """
    if _state["installed"]:
        return
    with _lock:
        if not _state["installed"]:
            logging.setLogRecordFactory(_scrubbing(logging.getLogRecordFactory()))
            _state["installed"] = True


def show(level: str) -> None:
    """Log ours from that level on; to standard error, where the program has set up no logging of its own."""
    _log.setLevel(level.upper())
    _log.addHandler(_otherwise)


def log_call(*, session: str, operation: str, outcome: str, seconds: float, credential: str, loud: bool) -> None:
    """The one line that a call of a chat's tool leaves (decision 18): no arguments, bodies, headers.

    Args:
        session: its id; the first eight characters are shown.
        operation: the tool's name.
        outcome: a status such as ``200``, or the kind of error.
        seconds: how long it took.
        credential: which kind was lent, such as ``bearer_token`` or the provider; empty: none.
        loud: at INFO (``log_api_calls``), else at DEBUG.
    """
    _log.log(
        logging.INFO if loud else logging.DEBUG,
        "chat %s: %s: %s in %.3f s, credential: %s",
        session[:8],
        operation,
        outcome,
        seconds,
        credential or "none",
    )


def _scrubbing(before: Callable[..., logging.LogRecord]) -> Callable[..., logging.LogRecord]:
    def make(*args: Any, **keywords: Any) -> logging.LogRecord:
        record = before(*args, **keywords)
        if record.levelno == logging.DEBUG and isinstance(record.name, str) and record.name.startswith(_FRAMES):
            _hush(record)
        scrubber = SPOKEN.get()
        if scrubber is not None and scrubber.needles:
            _scrub(record, scrubber)
        return record

    return make


def _hush(record: logging.LogRecord) -> None:
    """Of a frame its kind and length, of a header that may hold a credential its name (websockets' own lines)."""
    if record.msg in {"< %s", "> %s"} and isinstance(record.args, tuple) and len(record.args) == 1:
        frame = record.args[0]
        data = getattr(frame, "data", None)
        if data is not None:
            kind = getattr(getattr(frame, "opcode", None), "name", "frame")
            record.args = (f"{kind} [{len(data)} bytes]",)
    elif record.msg in {"< %s: %s", "> %s: %s"} and isinstance(record.args, tuple):
        name = str(record.args[0])
        if any(word in name.lower() for word in _WORDS):
            record.args = (name, MASK)


def _scrub(record: logging.LogRecord, scrubber: Scrubber) -> None:
    record.args = _arguments(record.args, scrubber)
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001  # logging would print the message and its arguments as they are
        text, record.args = f"{_rendered(record.msg)} (its arguments do not fit it)", ()
        record.msg = text
    clean = scrubber.text(text)
    if clean is not text:
        record.msg, record.args = clean, ()
    if record.exc_info and record.exc_info[0] is not None:
        # Not as an exception: a handler may print the tool's own variables with it.
        record.exc_text = scrubber.text(_formatter.formatException(record.exc_info))
        record.exc_info = None
    if record.stack_info:
        record.stack_info = scrubber.text(record.stack_info)
    record.__dict__ = _Extras(record.__dict__, scrubber)


def _arguments(args: Any, scrubber: Scrubber) -> Any:
    """Each by itself, so that a formatter that takes them apart still can."""
    if isinstance(args, Mapping):
        return {name: _value(value, scrubber) for name, value in args.items()}
    return tuple(_value(value, scrubber) for value in args) if isinstance(args, tuple) else args


def _value(value: object, scrubber: Scrubber) -> object:
    """A value without the secrets; one of which something else may be printed is replaced by its text."""
    clean = scrubber.value(value)
    if not isinstance(clean, _PLAIN):
        for text in (_rendered(clean), _rendered(clean, repr)):
            if scrubber.text(text) is not text:
                return scrubber.text(text)
    return clean


def _rendered(value: object, how: Callable[[object], str] = str) -> str:
    try:
        return how(value)
    except Exception:  # noqa: BLE001  # its text is the tool's own code
        return type(value).__name__


class _Otherwise(logging.StreamHandler):  # type: ignore[type-arg]  # it is generic for type checkers only
    """Standard error, unless the program has handlers of its own."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            self.stream = sys.stderr
            super().emit(record)


class _Extras(dict[str, Any]):
    """What a record holds: ``extra=`` is put in after the record was made."""

    def __init__(self, held: Mapping[str, Any], scrubber: Scrubber) -> None:
        super().__init__(held)
        self._scrubber = scrubber

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, _value(value, self._scrubber))

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


_otherwise = _Otherwise()
_otherwise.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
