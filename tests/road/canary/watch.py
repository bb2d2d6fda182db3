"""Everything that a run lets out (logs, streams, errors, reprs, pages, results, files), searched for canaries."""

from __future__ import annotations

import base64
import logging
import pprint
import re
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

import pytest

from tests.road.support import Page, get
from valetkey.testing import canary

WRITTEN_BY_HAND = {"valetkey.toml", ".env", "program.py"}
"""Files of the operator, in which secrets are by right."""


class _Lines(logging.Handler):
    """Every record, whatever its level, with its arguments and its traceback."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(0)
        self._lines = lines
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))
        self._lines.append(repr({name: value for name, value in vars(record).items() if name != "exc_info"}))


class Watch:
    """What came out, by place."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self._folder = folder
        self._capture = capture
        self._places: list[tuple[str, str | bytes]] = []
        self.logged: list[str] = []
        self.secrets: list[str] = []
        self.warned: list[warnings.WarningMessage] = []

    # What is looked for

    def secret(self, *values: str) -> None:
        """Look for these: for their long runs of letters, which no coding of single characters touches."""
        for value in values:
            runs = [run for run in re.findall("[A-Za-z0-9]+", value) if len(run) >= 16]
            self.secrets.extend(runs or [value])

    # Where

    def result(self, name: str, value: object) -> None:
        """What a model, or a program that prints it, gets to see."""
        self._places.append((f"result {name}", value if isinstance(value, str | bytes) else repr(value)))
        self._places.append((f"result {name} as text", str(value)))

    def error(self, name: str, error: BaseException) -> None:
        """An error, as it prints, with all that led to it."""
        texts = [str(error), repr(error), *traceback.format_exception(error), *getattr(error, "__notes__", ())]
        self._places.append((f"error {name}", "\n".join(texts)))

    @contextmanager
    def raising(self, *kinds: type[BaseException]) -> Iterator[pytest.ExceptionInfo[BaseException]]:
        """An error of these kinds must come, and is kept."""
        with pytest.raises(kinds) as raised:
            yield raised
        self.error(type(raised.value).__name__, raised.value)

    def objects(self, **named: object) -> None:
        """Objects of the public surface, in every way in which they print."""
        for name, value in named.items():
            texts = [repr(value), str(value), f"{value}", f"{value!r:>4}", pprint.pformat(value), repr([value])]
            texts += [repr(part) for part in getattr(value, "__rich_repr__", tuple)()]
            self._places.append((f"repr of {name}", "\n".join(texts)))

    def page(self, page: Page) -> Page:
        text = "\n".join([page.url, page.body, *(f"{name}: {value}" for name, value in page.headers.items())])
        self._places.append((f"page {page.status}", text))
        return page

    def get(self, url: str) -> Page:
        """Open a page; a callback's own URL holds its code by right, what comes after it does not."""
        first = get(url, follow=False)
        self._places.append((f"answer {first.status}", first.body + repr(first.headers)))
        if first.status in (302, 303):
            return self.page(get(urljoin(url, first.headers["location"])))
        return first

    def files(self, when: str) -> None:
        """Every file that this machine keeps of the run, as it is now."""
        for path in sorted(self._folder.rglob("*")):
            if path.is_file() and path.name not in WRITTEN_BY_HAND:
                self._places.append((f"file {path.relative_to(self._folder)} {when}", path.read_bytes()))

    # Whether

    def sightings(self) -> list[str]:
        """Where a secret is, and in which form; the same place once."""
        out, err = self._capture.readouterr()
        self._places += [("stdout", out), ("stderr", err), ("log", "\n".join(self.logged))]
        self._places += [("warning", str(warning.message)) for warning in self.warned]
        assert self.secrets, "nothing was looked for"
        numbered = {f"{place} [{number}]": text for number, (place, text) in enumerate(self._places)}
        found = canary.find(numbered, dict.fromkeys(self.secrets))
        return sorted({f"{sighting.place.rpartition(' [')[0]}: {sighting.form}" for sighting in found})

    def raw_key(self, key: str) -> list[str]:
        """Places that hold the octets of a vault key."""
        octets = base64.urlsafe_b64decode(key + "=" * (-len(key) % 4))
        return [place for place, text in self._places if isinstance(text, bytes) and octets in text]


@contextmanager
def watching(folder: Path, capture: pytest.CaptureFixture[str]) -> Iterator[Watch]:
    """Let everything through that any logger says, and keep it."""
    watch = Watch(folder, capture)
    handler = _Lines(watch.logged)
    root = logging.getLogger()
    found = [one for one in root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    before = [(one, one.level, one.disabled, one.propagate) for one in (root, *found)]
    for one in found:
        one.disabled, one.propagate = False, True
        one.setLevel(logging.NOTSET)
    root.setLevel(1)
    root.addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            watch.warned = warned
            yield watch
    finally:
        root.removeHandler(handler)
        for one, level, disabled, propagate in before:
            one.setLevel(level)
            one.disabled, one.propagate = disabled, propagate
