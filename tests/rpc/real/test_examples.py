"""The examples that share functions, over a real server: called by the real client and as a curl line says."""

from typing import Any

import pytest


@pytest.fixture
def found(seen) -> Any:
    return seen["examples"]


@pytest.mark.requirement("E.shown-curl", "E.shown-readme")
def test_a_function_is_shared_in_three_lines_and_called_by_curl(found):
    status, text = found["shared"]
    assert status == 200
    assert text.startswith('"Hello Ada, you are anonym')
    assert found["gone"][0] == 404, "its program has ended"


@pytest.mark.requirement(
    "seed004.example-protected", "seed004.services", "hypha.4.13", "d31.example-protected", "E.shown-curl"
)
def test_protected_service_says_the_same_over_http_and_rpc(found):
    said = "Protected data for user@example.com: 42"
    refusal = "User kim@example.com is not authorized"
    assert found["http"]["user"] == (200, f'"{said}"')
    assert found["http"]["kim"][0] == 500
    assert refusal in found["http"]["kim"][1]
    assert found["rpc"] == {
        "user": said,
        "kim": f"RemoteException: RemoteError:Exception: {refusal}",
        "anonymous": "RemoteException: RemoteError:Exception: User None is not authorized",
    }
