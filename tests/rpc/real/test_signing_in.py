"""`login()` and `logout()` of the unmodified client: completed by a program, and by a person."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest


@pytest.fixture
def found(seen) -> Any:
    return seen["signing in"]


@pytest.mark.requirement("seed004.login-call", "hypha.2.login", "E.shown-real-login")
def test_a_program_that_holds_a_token_reports_it(found):
    context, home = found["context"], "ws-user-local|bob"
    assert context.keys() >= {"login_url", "key", "code", "report_url", "check_url"}
    assert (found["reported"]["id"], found["reported"]["home"]) == ("local|bob", home)


@pytest.mark.requirement("seed004.login-call", "E.shown-real-login")
def test_a_profile_comes_with_the_token(found):
    profile = found["profile"]
    assert profile["email"] == "bob@example.com"
    assert profile["name"] == "Bob"
    assert profile["token"]


@pytest.mark.requirement("seed004.login-call", "d25.relay-uses-it", "E.shown-real-login")
def test_a_person_says_yes(found):
    assert (found["person"]["id"], found["person"]["home"]) == ("local|mia", "ws-user-local|mia")
    assert found["asked"][0]["login_url"].startswith(f"{found['url']}/public/apps/hypha-login/?key=")


@pytest.mark.requirement("hypha.2.login")
def test_a_workspace_and_an_end_that_were_asked_for(found):
    asked = parse_qs(urlsplit(found["asked"][1]["login_url"]).query)
    assert (asked["workspace"], asked["expires_in"]) == (["ws-user-local|mia"], ["600"])
    assert found["narrowed"]["home"] == "ws-user-local|mia"
    assert found["narrowed"]["expires_at"] < found["person"]["expires_at"] - 1000


@pytest.mark.requirement("hypha.2.login")
def test_nobody_answers(found):
    assert found["nobody"] == "RemoteException: RemoteError:TimeoutError: Login timeout, waited for 1 seconds"


@pytest.mark.requirement("hypha.2.login")
def test_logout_tells_where(found):
    assert found["logout"] == [f"{found['url']}/account"] * 2
