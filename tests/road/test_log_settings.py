"""What Hyperpocket's programs read of config(), and the level of our log."""

import io
import logging
import sys
from pathlib import Path

import pytest

from valetkey import InvalidSetting, Pocket, config, function_tool

OURS = logging.getLogger("valetkey")


@pytest.fixture(autouse=True)
def fresh():
    before = OURS.level, OURS.handlers[:]
    OURS.setLevel(logging.NOTSET)
    OURS.handlers[:] = []
    yield
    OURS.setLevel(before[0])
    OURS.handlers[:] = before[1]


@pytest.mark.requirement("hp.config-unused")
def test_what_means_nothing_here_can_be_read():
    assert config().log_level == "info"
    assert config().docks == {}
    assert config().auth.auth_encryption_secret_key is None


@pytest.mark.requirement("hp.config-unused")
def test_what_settings_have_of_it_can_be_read(caplog):
    Path("settings.toml").write_text(
        'log_level = "Warning"\n[docks]\nname = "mine"\n[auth]\nauth_encryption_secret_key = "a-key"\n'
    )
    Path("settings.toml").chmod(0o600)
    assert config.log_level == "warning"
    assert config().docks == {"name": "mine"}
    assert config().auth.auth_encryption_secret_key == "a-key"
    assert caplog.text == ""


@pytest.mark.requirement("hp.config-unused")
def test_a_level_that_is_set_shows_what_ours_has_to_say(monkeypatch):
    @function_tool
    def broken() -> None:
        """Fail."""
        raise ValueError("no")

    monkeypatch.setenv("POCKET_LOG_LEVEL", "error")
    stream = io.StringIO()
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(sys, "stderr", stream)
    with Pocket(tools=[broken]) as pocket:
        assert "no" in pocket.invoke("broken", {})
    assert stream.getvalue() == "", "the warning is below the level"
    OURS.error("told")
    assert stream.getvalue() == "ERROR valetkey: told\n"


def test_without_one_nothing_is_set():
    assert config().public_hostname == "localhost"
    assert OURS.level == logging.NOTSET
    assert OURS.handlers == []


@pytest.mark.requirement("hp.config-unused")
def test_a_level_that_there_is_not_is_refused(monkeypatch):
    monkeypatch.setenv("VALETKEY_LOG_LEVEL", "loud")
    with pytest.raises(InvalidSetting, match=r"log_level \(environment\)"):
        config()
