"""What programs of seed 003 write, as they write it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi import APIRouter, Depends, FastAPI
from starlette.testclient import TestClient

from valetkey import (
    AuthenticationError,
    AuthenticationHandler,
    AuthType,
    ConfigurationError,
    Credentials,
    ToolsGenerator,
    add_bedrock_chat,
    create_tools_generator_from_spec,
)
from valetkey.errors import ToolsGenerationError
from valetkey.wiring import build

SEED_YAML = """\
paths:
  /api/users:
    get:
      summary: List users
      description: Get all users (requires authentication)
      # Standard OpenAPI security
      security:
        - bearerAuth: []
      # Custom extension for auth type
      x-auth-type: bearer_token
      parameters:
        - name: limit
          in: query
          schema:
            type: integer
      responses:
        "200":
          description: List of users
        "401":
          description: Unauthorized

components:
  securitySchemes:
    bearerAuth:
      type: http
      scheme: bearer
      bearerFormat: JWT
"""


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    yield
    build.use(None)


def test_the_seeds_openapi_block_as_printed_is_a_document_of_tools(tmp_path: Path) -> None:
    """The package of the seed read ``paths`` and asked for no version."""
    (tmp_path / "api.yaml").write_text(SEED_YAML)
    (tool,) = create_tools_generator_from_spec(str(tmp_path / "api.yaml")).generate_tools_desc()["functions"]
    assert tool["name"] == "get_api_users"


def test_auth_dependency_may_be_depends_itself() -> None:
    """``Reception`` documents it, and FastAPI's users write it so."""
    app = FastAPI()
    plugin = add_bedrock_chat(app, model_id="offline", auth_dependency=Depends(lambda: "ann"))
    with TestClient(app) as client, client.websocket_connect("/bedrock-chat/ws") as socket:
        assert socket.receive_json()["type"] == "connection_established"
        (seat,) = plugin.session_manager.seats()
        assert seat.session.owner.subject.endswith("ann")


@pytest.mark.parametrize(
    "given",
    [
        Credentials(auth_type=AuthType.BEARER_TOKEN, bearer_token="abcdefgh\r\nX-Injected: 1"),
        Credentials(auth_type=AuthType.API_KEY, api_key="abcdefgh\r\nX-Injected: 1"),
        Credentials(auth_type=AuthType.CUSTOM, custom_headers={"X-A": "abcdefgh\r\nX-Injected: 1"}),
    ],
    ids=["bearer", "api key", "custom"],
)
async def test_credentials_with_a_line_break_are_put_on_no_header(given: Credentials) -> None:
    headers: dict[str, str] = {}
    with pytest.raises(AuthenticationError, match="without line breaks") as error:
        await AuthenticationHandler(given).apply_auth_to_headers(headers)
    assert "abcdefgh" not in str(error.value)
    assert headers == {}


@pytest.mark.parametrize(
    ("document", "said"), [({}, "openapi is missing"), ({"swagger": "2.0", "paths": {}}, "is Swagger 2.0")]
)
def test_what_is_no_document_says_why(document: dict[str, object], said: str) -> None:
    with pytest.raises(ToolsGenerationError, match=said):
        ToolsGenerator(openapi_spec=document)


@pytest.mark.parametrize(("given", "said"), [(None, "this is None"), (APIRouter(), "of the type APIRouter")])
def test_a_chat_is_put_on_an_app_only(given: object, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        add_bedrock_chat(cast("Any", given), model_id="offline")
