"""The page's routes, headers and files, without a browser."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.chat.fake_chat import Fake, page_app
from valetkey.entrypoints.chat.page import MODULES, POLICY, auth_types
from valetkey.settings.bedrock import ChatConfig

STATIC = Path(__file__).parents[2] / "src/valetkey/entrypoints/chat/static"
OURS = [name for name in MODULES if not name.startswith("vendor/")]
HOSTILE = "</script><script>alert(1)</script><b>&\"'"


async def nothing(*_: object) -> None:
    """A chat that says nothing."""


def client(**settings: object) -> TestClient:
    return TestClient(page_app(Fake(nothing), ChatConfig(**settings)), follow_redirects=False)  # type: ignore[arg-type]


def config_of(page: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="config">(.*?)</script>', page, re.DOTALL)
    assert found
    read: dict[str, object] = json.loads(found[1])
    return read


@pytest.mark.requirement("W-12")
@pytest.mark.parametrize("name", ["content-security-policy", "x-frame-options", "cache-control", "referrer-policy"])
def test_the_page_is_sent_with_strict_headers_and_a_cookie_for_this_browser(name):
    answer = client().get("/bedrock-chat/ui")
    told = {
        "content-security-policy": POLICY,
        "x-frame-options": "DENY",
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
    }
    assert answer.headers[name] == told[name]
    assert "unsafe" not in POLICY
    assert "HttpOnly" in answer.headers["set-cookie"]
    again = client().get("/bedrock-chat/ui", headers={"cookie": f"valetkey-chat={'c' * 43}"})
    assert "set-cookie" not in again.headers


@pytest.mark.requirement("W-15")
def test_under_a_name_that_is_not_ours_there_is_no_page_and_no_cookie():
    answer = client().get("/bedrock-chat/ui", headers={"host": "evil.example"})
    assert answer.status_code == 421
    assert "set-cookie" not in answer.headers


@pytest.mark.requirement("fault.xss", "W-11")
def test_what_is_set_for_the_page_stays_text():
    prompts = [{"label": HOSTILE, "template": HOSTILE}]
    page = client(ui_title=HOSTILE, ui_welcome_message=HOSTILE, preset_prompts=prompts).get("/bedrock-chat/ui").text
    assert "alert(1)</script>" not in page
    assert page.count("<script") == 2
    assert "<b>" not in page
    assert config_of(page)["presets"] == prompts


@pytest.mark.requirement("fault.xss", "D.no-cdn")
def test_the_page_asks_nobody_else_and_runs_nothing_inline():
    page = client().get("/bedrock-chat/ui").text
    assert not re.search(r"\son[a-z]+=|\sstyle=|<style|https?://(?!www\.w3\.org/2000/svg)", page)
    assert re.findall(r"<script(?![^>]*(?:src=|application/json))", page) == []


@pytest.mark.requirement("D.no-cdn")
@pytest.mark.parametrize("name", [*MODULES, "chat.css"])
def test_each_file_has_its_type_and_is_asked_for_again_by_its_tag(name):
    asked = client()
    answer = asked.get(f"/bedrock-chat/static/{name}")
    assert answer.status_code == 200
    kind = "text/css" if name.endswith("css") else "text/javascript"
    assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    again = asked.get(answer.url.path, headers={"if-none-match": f'"other", W/{answer.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert asked.get(answer.url.path, headers={"if-none-match": '"other"'}).status_code == 200


@pytest.mark.requirement("W-18")
@pytest.mark.parametrize(
    "path",
    [
        "static/",
        "static/page.py",
        "static/../page.py",
        "static/%2e%2e/page.py",
        "static/..%2fpage.py",
        "static/vendor%2fmarked.esm.js",
        "static/chat%2ejs",
        "static/vendor/marked.esm.js.map",
        "static/chat.js.map",
        "static/vendor/README.md",
        "static/vendor/",
        "static//chat.js",
        "static/chat.js/",
        "static/.git/config",
        "static/chat.html",
    ],
)
def test_nothing_else_is_served(path):
    answer = client().get(f"/bedrock-chat/{path}")
    assert answer.status_code == 404
    assert "Route" not in answer.text


@pytest.mark.requirement("D.no-cdn")
def test_all_that_the_scripts_import_is_served():
    for name in OURS:
        for other in re.findall(r'from "\./([^"]+)"', (STATIC / name).read_text()):
            assert other in MODULES, (name, other)


@pytest.mark.requirement("fault.xss", "D.no-cdn")
def test_our_scripts_know_no_way_from_text_to_markup_and_keep_nothing_but_the_session():
    markup = r"innerHTML|outerHTML|insertAdjacent|document\.write|DOMParser|srcdoc|eval\(|new Function"
    stores = r"localStorage|indexedDB|document\.cookie|fetch\("
    for name in OURS:
        text = (STATIC / name).read_text()
        assert not re.search(f"{markup}|{stores}", text), name
        assert "sessionStorage" not in text or name == "socket.js"
        assert len(text.splitlines()) <= 400


@pytest.mark.requirement("D.no-cdn")
def test_what_is_not_ours_is_what_its_readme_says():
    readme = (STATIC / "vendor/README.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \|.*`([0-9a-f]{64})` \|$", readme, re.MULTILINE)
    held = {path.name for path in (STATIC / "vendor").glob("*.js")}
    assert held == {name for name, _ in rows}
    for name, told in rows:
        assert hashlib.sha256((STATIC / "vendor" / name).read_bytes()).hexdigest() == told


@pytest.mark.requirement("fault.ui-oauth2")
@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["bearer_token", "basic_auth", "api_key", "oauth2", "custom"], None),
        (["oauth2_client_credentials", "oauth2"], ["oauth2"]),
        (["sso", "api_key"], ["api_key"]),
        ([], []),
    ],
)
def test_only_supported_types_have_a_form_and_oauth2_has_one_name(given, found):
    assert auth_types(given) == (given if found is None else found)


@pytest.mark.requirement("chat.page-texts")
def test_the_page_knows_what_has_to_be_given():
    page = client(require_tool_auth=True, supported_auth_types="api_key, oauth2", default_auth_type="oauth2")
    told = config_of(page.get("/bedrock-chat/ui").text)
    assert told["auth"] == {"types": ["api_key", "oauth2"], "required": True, "first": "oauth2"}
    off = config_of(client(enable_tool_auth=False).get("/bedrock-chat/ui").text)
    assert off["auth"] == {"types": [], "required": False, "first": ""}


def test_the_page_finds_its_parts_wherever_it_is_put():
    moved = {"chat_endpoint": "/talk", "websocket_endpoint": "/sockets/talk", "ui_endpoint": "/"}
    page = client(**moved).get("/").text
    assert config_of(page)["socket"] == "sockets/talk"
    assert 'src="talk/static/chat.js"' in page
    usual = client().get("/bedrock-chat/ui").text
    assert config_of(usual)["socket"] == "ws"
    assert 'src="static/chat.js"' in usual


def test_the_chat_leads_to_its_page_unless_there_is_none():
    answer = TestClient(page_app(Fake(nothing), ChatConfig()), root_path="/behind", follow_redirects=False).get(
        "/behind/bedrock-chat"
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/behind/bedrock-chat/ui")
    assert client(enable_ui=False).get("/bedrock-chat/ui").status_code == 404
