"""The unmodified client comes back after a cut and after a restart, and not once its token is revoked."""

from typing import Any

import pytest


@pytest.fixture
def found(seen) -> Any:
    return seen["coming back"]


@pytest.mark.requirement("hypha.2.reconnection", "W-10.services", "E.shown-real-ends")
def test_a_connection_that_was_cut_comes_back_with_its_services(found):
    assert (found["before"], found["cut"]) == ("aa", "bb")
    assert found["listed"] == ["ws-user-local|ada/provider:kept"], "once, and not twice"
    assert found["echo"] == "from the provider"


@pytest.mark.requirement("hypha.2.reconnection", "E.shown-real-ends")
def test_a_server_that_was_started_anew_is_met_again(found):
    assert (found["restart"], found["manager"], found["same"]) == ("cc", "to the new manager", True)


@pytest.mark.requirement("hypha.4.3", "E.shown-real-ends")
def test_a_connection_ends_when_its_token_is_revoked_and_does_not_come_back(found):
    assert found["revoked"] == [True, True]
    assert "Connection is closed" in found["after"]
