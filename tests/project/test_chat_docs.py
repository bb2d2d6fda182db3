"""The chat's pages say what is there: frames both ways, texts of errors, settings, names, and how a socket ends."""

import ast
import re
from pathlib import Path

import pytest

import valetkey
from tests.project.test_reference import code, page, rows
from valetkey.entrypoints.chat import auth_frames, frames, verified
from valetkey.errors import AuthenticationError
from valetkey.settings.bedrock import ChatConfig

CHAT = Path(frames.__file__).parent
SOURCES = [path.read_text() for path in sorted(CHAT.glob("*.py"))]
ELSEWHERE = {"function", "http"}  # of a tool's description, of an ASGI scope
KIND = re.compile(r'(?:\bframe|_tell|\.say)\(\s*"([a-z_]+)"|"type": "([a-z_]+)"')
FRAMES = page("frames.md")
FROM_CLIENT, _, FROM_SERVER = FRAMES.partition("## From the server")


@pytest.mark.requirement("chat.frames-told")
def test_every_frame_that_is_sent_is_on_the_page_and_no_other():
    sent = {next(filter(None, match.groups())) for source in SOURCES for match in KIND.finditer(source)} - ELSEWHERE
    assert {code(row[0])[0] for row in rows(FROM_SERVER, "`type`")} == sent


@pytest.mark.requirement("chat.frames-told")
def test_every_frame_that_is_taken_is_on_the_page_and_no_other():
    source = (CHAT / "handling.py").read_text()
    taken = set(re.findall(r'^ {12}"(\w+)": self\._', source, re.MULTILINE))
    assert {code(row[0])[0] for row in rows(FROM_CLIENT, "`type`")} == taken >= {"chat", "auth"}


def told(**frame: object) -> str:
    with pytest.raises(AuthenticationError) as refused:
        auth_frames.read_auth(frame, ChatConfig(model_id="offline", supported_auth_types=["oauth2", "basic_auth"]))
    return refused.value.message


@pytest.mark.requirement("chat.frames-told")
def test_the_texts_of_errors_are_those_of_the_code():
    texts = [text for row in rows(FRAMES, "sent |") for text in code(row[1])]
    shown = {
        told(auth_type="oauth2"),
        told(auth_type="oauth2", token_url="https://a.example"),
        told(auth_type="basic_auth"),
        told(auth_type="nope"),
        told(auth_type="api_key"),
        frames.EMPTY, frames.NO_STRING, frames.NO_OBJECT, frames.NO_TEXT, frames.SIGN_IN_FIRST,
        frames.unknown_type({"type": "zzz"}),
    }  # fmt: skip
    assert shown <= set(texts), shown - set(texts)
    for text in texts:
        # What stands before the part that varies.
        fixed = re.split(r": |\d| N |…", text)[0].removesuffix(" (OAuth2 token URL not provided)")
        assert fixed in "".join(SOURCES), text


@pytest.mark.requirement("D.docs")
def test_the_texts_of_a_verification_are_those_of_the_code():
    text = page("chat-authentication.md")
    for said in (verified.TIMED_OUT, verified.NO_CONNECTION, verified.GENERIC):
        assert said in text


@pytest.mark.requirement("chat.frames-told")
def test_every_code_with_which_a_socket_ends_is_on_the_page():
    # 1006 is no code that anybody sends (RFC 6455 §7.1.5).
    numbers = {int(number) for row in rows(FRAMES, "code |") for number in re.findall(r"\d+", row[0])}
    assert {number for number in numbers if number < 1000} == {400, 401, 403, 421, 503}  # of the handshake
    listed = {number for number in numbers if number > 1000} - {1012}  # that one is uvicorn's own
    used = {int(number) for number in re.findall(r"(?<!\w)(?:10[01]\d|44\d\d)(?!\w)", "".join(SOURCES))} - {1006}
    assert listed == used >= {1009, 1013, 4401, 4408}


@pytest.mark.requirement("D.docs")
@pytest.mark.parametrize(
    ("name", "heading"), [("chat.md", "setting | by default |"), ("chat-authentication.md", "setting | by default")]
)
def test_the_settings_that_are_named_are_there_with_these_defaults(name, heading):
    config = ChatConfig(model_id="offline")
    for row in rows(page(name), heading):
        names, given = code(row[0]), [text for text in re.split(r", | s$", row[1].replace("`", "")) if text]
        assert names
        for setting, text in zip(names, given, strict=False):
            value = getattr(config, setting)
            match text:
                case "none":
                    assert value is None
                case "all five":
                    assert len(value) == 5
                case "1 MiB":
                    assert value == 1_048_576
                case "true" | "false":
                    assert value is (text == "true")
                case _:
                    assert value == ast.literal_eval(text), setting


@pytest.mark.requirement("chat.exports")
def test_every_name_of_the_table_can_be_imported():
    listed = [
        name
        for row in rows(page("coming-from-auto-bedrock-chat.md"), "auto-bedrock-chat-fastapi |")
        for name in code(row[0])
    ]
    names = [name for name in listed if re.fullmatch(r"[A-Za-z_]\w+", name)]
    assert len(names) > 15
    assert not [name for name in names if not hasattr(valetkey, name)]


def test_every_setting_that_does_something_now_is_one():
    for row in rows(page("coming-from-auto-bedrock-chat.md"), "setting |"):
        for name in code(row[0]):
            setting = name.partition("=")[0].removeprefix("BEDROCK_").lower()
            assert setting in ChatConfig.model_fields, name
