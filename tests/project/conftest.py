"""The pages are tried as a reader tries them: with ports and a home of their own, and links that are followed."""

import pytest

from tests.ports import free_port
from tests.project import stage
from tests.project.reader import Reader, read_along
from valetkey.wiring import build

PAGES = {"test_docs.py", "test_reference.py"}


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item):
    """Inside of pytest's own capturing, which puts its streams in place for each phase of a test."""
    somebody = getattr(item, "funcargs", {}).get("reader")
    if somebody is None:
        return (yield)
    with read_along(somebody):
        return (yield)


@pytest.fixture(autouse=True)
def reader(request, monkeypatch):
    """Whoever reads the pages; None for tests of other things."""
    if request.path.name not in PAGES:
        yield None
        return
    for name in ("VALETKEY_PUBLIC_SERVER_PROTOCOL", "VALETKEY_SESSION__SESSION_TYPE"):
        monkeypatch.setenv(name, "")  # what a page sets is gone after it
        monkeypatch.delenv(name)
    monkeypatch.setenv("VALETKEY_INTERNAL_SERVER_PORT", str(free_port()))
    monkeypatch.setenv("VALETKEY_PUBLIC_SERVER_PORT", str(free_port()))
    build.use(None)
    somebody = Reader()
    yield somebody
    somebody.done()
    stage.strike()
    build.use(None)
