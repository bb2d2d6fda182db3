"""The settings of the log take effect, and leave the program's own logging alone."""

import io
import logging
import sys

import pytest

from valetkey.entrypoints.chat import told
from valetkey.entrypoints.chat.told import THIRD_PARTIES, apply_logging
from valetkey.settings.bedrock import load_config

OURS = logging.getLogger("valetkey")
WATCHED = ["valetkey", *THIRD_PARTIES]


@pytest.fixture(autouse=True)
def fresh():
    """As in a program that has set nothing up."""
    loggers = [logging.getLogger(name) for name in WATCHED]
    before = [(logger, logger.level, logger.handlers[:], logger.filters[:]) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.NOTSET)
        logger.handlers[:], logger.filters[:] = [], []
    yield
    for logger, level, handlers, filters in before:
        logger.setLevel(level)
        logger.handlers[:], logger.filters[:] = handlers, filters


@pytest.fixture
def bare(monkeypatch):
    """Call it: from then on the program has no logging of its own (pytest's is there until then)."""

    def begin() -> io.StringIO:
        stream = io.StringIO()
        monkeypatch.setattr(logging.getLogger(), "handlers", [])
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    return begin


@pytest.mark.requirement("seed003.trouble-log-level")
def test_a_level_that_is_set_shows_what_it_says_even_where_no_logging_is_set_up(bare):
    alone = bare()
    apply_logging(load_config(model_id="offline", log_level="debug"))
    OURS.debug("a small thing")
    assert alone.getvalue() == "DEBUG valetkey: a small thing\n"
    apply_logging(load_config(model_id="offline", log_level="ERROR"))
    OURS.warning("not this")
    OURS.error("but this")
    assert alone.getvalue().splitlines()[1:] == ["ERROR valetkey: but this"], "once, however often it is applied"


def test_where_the_program_logs_by_itself_it_is_not_told_twice(bare, monkeypatch):
    alone = bare()
    apply_logging(load_config(model_id="offline", log_level="DEBUG"))
    own = io.StringIO()
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(own)])
    OURS.debug("a small thing")
    assert own.getvalue() == "a small thing\n"
    assert alone.getvalue() == ""


def test_without_a_level_the_programs_own_stands(bare):
    bare()
    apply_logging(load_config(model_id="offline"))
    assert OURS.level == logging.NOTSET
    assert OURS.handlers == []
    OURS.setLevel(logging.ERROR)
    apply_logging(load_config(model_id="offline", log_api_calls=True))
    assert OURS.level == logging.ERROR


def test_calls_that_are_to_be_logged_are_shown(bare):
    alone = bare()
    apply_logging(load_config(model_id="offline", log_api_calls=True))
    OURS.info("a call")
    assert "a call" in alone.getvalue()


def test_other_peoples_libraries_are_quiet_unless_somebody_wants_them():
    logging.getLogger("httpx").setLevel(logging.DEBUG)
    apply_logging(load_config(model_id="offline"))
    assert logging.getLogger("botocore").level == logging.WARNING
    assert logging.getLogger("botocore.endpoint").isEnabledFor(logging.INFO) is False
    assert logging.getLogger("httpx").level == logging.DEBUG, "the program asked for it"
    logging.getLogger("boto3").setLevel(logging.NOTSET)
    apply_logging(load_config(model_id="offline", suppress_third_party_logs=False))
    assert logging.getLogger("boto3").level == logging.NOTSET


@pytest.mark.requirement("fault.dead-settings")
def test_failures_of_calls_and_answers_can_be_held_back(bare):
    alone = bare()

    def log(place: str) -> None:
        path = f"{told._PACKAGE}/{place}"
        OURS.handle(OURS.makeRecord("valetkey", logging.WARNING, path, 1, place, (), None))

    for wanted, shown in ((False, ["connections/find.py"]), (True, ["pipeline.py", "connections/find.py"])):
        alone.truncate(0)
        alone.seek(0)
        apply_logging(load_config(model_id="offline", log_errors=wanted))
        log("pipeline.py")
        log("connections/find.py")
        assert alone.getvalue().split() == shown


@pytest.mark.requirement("d16.offline")
@pytest.mark.parametrize("log_errors", [True, False])
def test_one_line_at_the_start_says_that_no_model_answers(bare, log_errors):
    alone = bare()
    apply_logging(load_config(log_errors=log_errors))
    assert alone.getvalue().count("\n") == 1
    assert "answers offline" in alone.getvalue()
    alone.truncate(0)
    apply_logging(load_config(model_id="offline"))
    apply_logging(load_config(model_id="amazon.nova-lite-v1:0"))
    assert alone.getvalue().strip("\0") == ""
