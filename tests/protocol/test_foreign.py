"""What another party wrote: T-09, T-10, T-16 and O-12."""

import base64
import json
from contextlib import suppress
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valetkey.protocol.foreign import read_object, shown
from valetkey.secret import Secret

CANARY = "canary/9f+2 secret"
JSON = "application/json; charset=utf-8"
FORM = "application/x-www-form-urlencoded"


class TestText:
    @pytest.mark.parametrize(
        ("written", "expected"),
        [
            ("plain", "plain"),
            ("two\r\n lines\t\x00 here", "two lines here"),
            ("\x1b[1;31mred\x1b[0m", "red"),
            ("\x1b]0;title\x07x", "x"),
            ("\x1b]8;;https://evil.test\x1b\\link", "link"),
            ("\x9b31mred", "red"),
            ("a\u202eb\u2066c\u200fd\u200be\ufefff", "a b c d e f"),
            ("\ud800 lone", "lone"),
            ("<script>alert(1)</script>", "<script>alert(1)</script>"),
            ("", ""),
        ],
    )
    def test_one_line_that_can_be_shown(self, written, expected):
        assert shown(written) == expected

    def test_at_most_200_characters(self):
        text = shown("word " * 1000)
        assert len(text) == 200
        assert text.endswith("…")
        assert shown("ab " * 66 + "ab") == "ab " * 66 + "ab"

    @pytest.mark.parametrize(
        "coded",
        [CANARY, quote(CANARY, safe=""), base64.b64encode(CANARY.encode()).decode()],
        ids=["raw", "url", "base64"],
    )
    def test_a_secret_that_comes_back_is_starred(self, coded):
        text = shown(f"the code {coded} is used", secrets=[Secret(CANARY)])
        assert coded not in text
        assert "***" in text

    def test_a_secret_cut_by_control_characters_is_starred_too(self):
        text = shown("bad can\x1b[0mary-1234 here", secrets=[Secret("canary-1234")])
        assert "canary" not in text

    def test_the_end_of_the_line_shows_no_part_of_a_secret(self):
        text = shown("x " * 98 + "canary-1234", secrets=[Secret("canary-1234")])
        assert "can" not in text

    @pytest.mark.parametrize(
        "token",
        [
            "xoxb-123456789012-abcdefABCDEF",
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "a1" * 2000,
            "justaboutissuedtoken-and-more",
        ],
    )
    def test_what_looks_like_a_token_is_starred(self, token):
        assert shown(f"token {token} is wrong") == "token *** is wrong"

    @pytest.mark.parametrize(
        "text",
        [
            "redirect_uri_mismatch_with_registered_one",
            "AADSTS7000215: Invalid client secret provided.",
            "see https://developers.example.com/docs/v2/errors/1234567890",
        ],
    )
    def test_words_and_addresses_are_not(self, text):
        assert shown(text) == text

    @given(st.text())
    def test_whatever_it_is_it_is_printable(self, text):
        assert shown(text).isprintable()
        assert len(shown(text)) <= 200


class TestBodies:
    def test_json_is_read_whatever_it_is_called(self):
        for content_type in (JSON, "text/javascript", "text/html", None):
            assert read_object(b'{"a": [1, {"b": null}]}', content_type) == {"a": [1, {"b": None}]}

    def test_a_form_is_read_only_where_the_content_type_says_so(self):
        body = b"access_token=a%2Bb&scope=repo%2Cgist&refresh_token="
        assert read_object(body, f"{FORM}; charset=utf-8") == {
            "access_token": "a+b",
            "scope": "repo,gist",
            "refresh_token": "",
        }
        for content_type in (JSON, "text/plain", None):
            with pytest.raises(ValueError, match=r".*"):
                read_object(body, content_type)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"null",
            b"[]",
            b'"text"',
            b"<html>busy</html>",
            b'{"a": 1, "a": 1}',
            b'{"a": {"b": 1, "b": 2}}',
            b'{"a": 1} x',
            b'{"a": 1}{"b": 2}',
            b'{"a": 1',
            b'\xef\xbb\xbf{"a": 1}',
            '{"a": 1}'.encode("utf-16"),
            '{"a": 1}'.encode("utf-16-le"),
            b'{"a": "\xff"}',
            b"{'a': 1}",
            b'{"a": ' + b"1" * 5000 + b"}",
            b'{"a":' * 100_000,
        ],
    )
    def test_what_two_readers_could_read_differently_is_refused(self, body):
        with pytest.raises(ValueError, match=r".*"):
            read_object(body, JSON)

    @pytest.mark.parametrize(
        "body", [b"a=1&a=2", b"a", b"a=%ff", b"\xff=1", b"&".join(b"a%d=1" % n for n in range(500))]
    )
    def test_so_is_such_a_form(self, body):
        with pytest.raises(ValueError, match=r".*"):
            read_object(body, FORM)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
        )
    )
    def test_what_json_writes_is_read(self, value):
        assert read_object(json.dumps({"x": value}).encode(), JSON) == {"x": value}

    @given(st.binary())
    def test_any_bytes_are_an_object_or_a_value_error(self, body):
        for content_type in (JSON, FORM):
            with suppress(ValueError):
                assert isinstance(read_object(body, content_type), dict)
