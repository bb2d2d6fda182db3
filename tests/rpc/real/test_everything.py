"""An unmodified client in its own process: whatever programs do with services, against a server on a real port."""

from typing import Any

import pytest


@pytest.fixture
def found(seen) -> Any:
    return seen["everything"]


HOME = "ws-user-local|ada"


@pytest.mark.requirement("seed004.login-call", "E.shown-real-client")
@pytest.mark.parametrize("name", ["ada", "eve"])
def test_a_token_leads_into_the_own_workspace(found, name):
    there = found["connected"][name]
    assert there["workspace"] == f"ws-user-local|{name}"
    assert (there["user"]["id"], there["user"]["email"]) == (f"local|{name}", f"{name}@example.com")


@pytest.mark.requirement("E.shown-real-client")
def test_whoever_has_no_token_is_somebody_new_in_a_workspace_of_their_own(found):
    there = found["connected"]["nobody"]
    assert there["user"]["is_anonymous"] is True
    assert there["workspace"] == f"ws-user-{there['user']['id']}"


@pytest.mark.requirement("E.shown-real-client")
def test_a_service_is_registered_listed_and_described(found):
    assert found["registered"] == f"{HOME}/ada-1:kinds"
    assert found["listed"] == [f"{HOME}/ada-1:kinds", f"{HOME}/ada-1:open"]
    assert found["listed by eve"] == [f"{HOME}/ada-1:open"], "the other one is protected"
    info = found["info"]
    assert (info["name"], info["description"], info["config"]["visibility"]) == ("Kinds", "one of each", "protected")
    assert info["service_schema"]["fails"]["function"]["parameters"]["required"] == ["text"]
    assert "not found" in found["unregistered"]
    assert "not found" in found["no longer"]


@pytest.mark.requirement("hypha.2.references", "hypha.2.pieces", "E.shown-real-client")
@pytest.mark.parametrize("service", ["by client", "by server"])
def test_functions_of_every_kind(found, service):
    there = found[service]
    assert (there["back"], there["told"]) == ([0, 10, 20], [0, 1, 2]), "callbacks"
    assert there["counted"] == there["stepped"] == [0, 1, 2], "generators, asynchronous and not"
    assert there["array"] == ["int16", [[0, 2, 4], [6, 8, 10]]]
    assert there["long"] == there["size"] == 3_000_000, "results and arguments of many pieces"
    assert there["nested"] == {"a": [1, None, "ü"]}
    assert "ValueError: on purpose" in there["failure"]


def test_a_failure_of_the_servers_own_has_no_traceback(found):
    assert found["by server"]["failure"] == "RemoteException: RemoteError:ValueError: on purpose"


@pytest.mark.requirement("seed004.services", "hypha.4.1", "E.shown-real-client")
def test_functions_are_told_who_calls_and_by_nobody_but_the_server(found):
    told, by_server = found["by client"]["context"], found["by server"]["context"]
    assert (told["user"]["id"], told["ws"], told["from"]) == ("local|ada", HOME, f"{HOME}/ada-2")
    assert (by_server["user"]["id"], by_server["from"]) == ("local|eve", "ws-user-local|eve/eve-1")
    for name in ("open", "forged"):
        assert found[name]["user"]["is_anonymous"] is True
        assert found[name]["ws"] == found["connected"]["nobody"]["workspace"]


def test_a_startup_function_calls_a_clients_service(found):
    there = found["server asks"]
    assert (there["told"], there["back"]) == ([0, 1, 2], [1, 2, 3])
    assert there["counted"] == there["stepped"] == [0, 1, 2]
    assert there["array"] == ["int64", [0, 2, 4, 6]]
    assert there["long"] == there["size"] == 3_000_000
    assert there["context"]["user"]["id"] == "root"
    assert "ValueError: on purpose" in there["failure"]
    assert there["listed"] is True
    assert there["clients"] == [f"{HOME}/ada-1", f"{HOME}/ada-2"]
    assert found["heard"] is True, "of a client that left"


@pytest.mark.requirement("hypha.2.heartbeats")
def test_a_call_lasts_longer_than_its_timeout_where_it_goes_on(found):
    assert found["slow"] == "late"


@pytest.mark.requirement("E.shown-hostile")
def test_nobody_calls_what_they_may_not(found):
    refused = found["refused"]
    assert "not refused" not in refused.values()
    protected = [text for name, text in refused.items() if "protected" in name]
    assert len(protected) == 6
    assert all("PermissionError: Permission denied for non-public service" in text for text in protected)
    for name in ("attribute of a function", "attribute of a service", "library's own", "manager's"):
        assert "KeyError: There is no" in refused[name], name
    assert "PermissionError" in refused["another's client"]
    assert "has to be the caller's own" in refused["another's function"]


@pytest.mark.requirement("hypha.1.5.client-id", "hypha.1.5.generate-token", "E.shown-real-client")
def test_child_tokens_hold_no_more_than_their_parents(found):
    child = found["child"]
    assert child["user"]["parent"] == "local|ada"
    assert child["user"]["scope"]["workspaces"] == {HOME: "r"}
    assert child["parsed"]["id"] == child["user"]["id"]
    assert child["calls"] == 3, "a reader may call"
    assert "PermissionError: Permission denied for workspace" in child["registers"]
    assert "Only admin can generate token." in child["wider"]
    assert "You do not have any permission for workspace" in child["elsewhere"]
    assert child["that client"] == "only-this"
    for name, said in {
        "other client": "Client id mismatch: this token is restricted to client with client_id='only-this'",
        "special": "Specialized token with scopes",
        "other workspace": "does not match the specified workspace",
        "bad": "Nobody here knows this kind of credential",
        "twice": f"Client already exists and is active: {HOME}/ada-1",
        "revoked": "This token has been revoked",
    }.items():
        assert child[name].startswith(f"ConnectionAbortedError: {said}") or said in child[name], name


@pytest.mark.requirement("hypha.4.3", "E.shown-real-ends")
def test_a_connection_ends_with_its_token(found):
    assert found["ended"] is True


@pytest.mark.requirement("E.shown-real-client")
def test_the_synchronous_form_works_too(found):
    assert found["sync"] == {
        "registered": "ws-user-local|eve/eve-sync:from-sync",
        "own": "abab",
        "counted": [0, 1, 2],
        "back": [100, 101],
    }
