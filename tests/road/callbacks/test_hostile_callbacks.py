"""Callbacks that no provider sends, and the way back from a real one (security case table 1.3)."""

import asyncio
import re
import sys
from urllib.parse import urljoin, urlsplit

import pytest

from tests.road.callbacks.program import STRICT, changed, fields_of, words
from tests.road.forms import open_form
from tests.road.support import get, send, write_settings
from valetkey import AuthProvider, Pocket, function_tool

TEXTS = {
    "script": "<script>alert(1)</script>",
    "img": "<img src=x onerror=alert(1)>",
    "form": '"><form action=https://evil.example>',
    "terminal": "\x1b[2J\x1b]0;title\x07red",
    "direction": "a\u202egnp.exe\u2066b\u200f",
    "lines": "line\r\nSet-Cookie: a=b\n\n<h1>",
    "long": "x" * 10_000,
}


class TestErrors:
    async def test_o12_its_text_is_escaped_and_cut_and_the_state_used_up(self, program):
        for text in TEXTS.values():
            callback = await program.callback(deny=True)
            told = changed(callback, error="server_error", error_description=text)
            page = await program.refused(told, 403, changes=True)
            assert program.accounts() == 0
            body = page.body.partition("</style>")[2]
            for raw in ("<script", "<img", "<form", "<h1>line", "\x1b", "\u202e", "\u2066", "\u200f", "x" * 201):
                assert raw not in body
            assert "set-cookie" not in page.headers
            await program.refused(told)
            await program.refused(callback)

    async def test_o13_both_a_code_and_an_error_or_neither(self, program):
        callback = await program.callback()
        await program.refused(changed(callback, error="access_denied"))
        await program.refused(changed(callback, code=None))
        await program.refused(changed(callback, code=""))
        assert (await asyncio.to_thread(get, callback)).status == 200

    async def test_o14_a_parameter_twice(self, program):
        callback = await program.callback()
        fields = fields_of(callback)
        for name in ("state", "code", "iss"):
            await program.refused(changed(callback, (name, fields[name])))
            await program.refused(changed(callback, (name, "another")))
        denied = await program.callback("plain", deny=True)
        await program.refused(changed(denied, ("error", "another")))
        await program.refused(changed(denied, ("error_description", "another")))
        assert (await asyncio.to_thread(get, callback)).status == 200

    async def test_o15_a_token_in_the_query(self, program):
        callback = await program.callback()
        for name in ("access_token", "id_token", "refresh_token", "token"):
            await program.refused(changed(callback, (name, "eyJhbGciOiJub25lIn0.e30.")))
            await program.refused(changed(callback, (name, "x"), code=None))
        assert program.accounts() == 0

    async def test_o15_a_token_or_a_code_in_a_form_that_is_posted(self, program):
        callback = await program.callback()
        before = program.rows()
        for body in ("access_token=x&token_type=bearer", urlsplit(callback).query):
            url = callback.partition("?")[0]
            headers = {"content-type": "application/x-www-form-urlencoded"}
            page = await asyncio.to_thread(lambda: send("POST", url, body, headers=headers))  # noqa: B023
            assert page.status == 405
            program.clean(page)
        assert (program.rows(), program.token_calls) == (before, 0)

    async def test_a_code_that_is_no_code(self, program):
        callback = await program.callback()
        for code in ("x" * 9000,):
            await program.refused(changed(callback, code=code))
        assert (await asyncio.to_thread(get, callback)).status == 200

    async def test_a_request_that_is_too_long_or_at_no_page(self, program):
        callback = await program.callback()
        await program.refused(changed(callback, ("x", "y" * 30_000), state="unknown"))
        base = callback.partition("/auth/")[0]
        query = urlsplit(callback).query
        for path in (
            "/auth/honest",
            "/auth/honest/oauth2/callback/",
            "/auth//oauth2/callback",
            "/nowhere",
            "/.git/config",
        ):
            await program.refused(f"{base}{path}?{query}", 404)
        for path in (
            "/auth/..%2Fhonest/oauth2/callback",
            "/auth/honest%00/oauth2/callback",
            "/auth/HONEST/oauth2/callback",
        ):
            page = await asyncio.to_thread(lambda: get(f"{base}{path}?{query}"))  # noqa: B023
            assert page.status in (400, 404)
        assert (await asyncio.to_thread(get, callback)).status == 200


class TestHost:
    async def test_o16_a_host_that_is_not_ours(self, program):
        callback = await program.callback()
        for host in ("evil.example", "localhost.evil.example", "evil.example:8001", "169.254.169.254", "[fe80::1]"):
            await program.refused(callback, 421, headers={"Host": host})
        for host in ("a@localhost", "localhost:x", "local host", ""):
            await program.refused(callback, 400, headers={"Host": host})

    async def test_o16_no_header_moves_the_redirect_uri(self, program):
        headers = {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example", "X-Forwarded-Proto": "http"}
        callback = await program.callback()
        first = await asyncio.to_thread(lambda: get(callback, follow=False, headers=headers))
        assert first.status == 303
        assert "evil" not in first.headers["location"]
        await asyncio.to_thread(get, urljoin(callback, first.headers["location"]))
        expected = f"https://localhost:{program.ports.public}/proxy/auth/plain/oauth2/callback"
        assert fields_of(await program.link("plain"))["redirect_uri"] == expected
        assert program.server.requests[-1].form["redirect_uri"] == expected.replace("plain", "honest")


class TestWayBack:
    async def test_o18_no_parameter_says_where_to_go_next(self, program):
        callback = await program.callback()
        targets = ("//evil", "/\\evil", "/%09/evil", "https:evil", "javascript:alert(1)", "http://us@evil", "/..//evil")
        names = ("return_to", "next", "redirect_uri", "redirect", "url", "continue", "result", "provider")
        more = [(name, target) for name in names for target in targets]
        first = await asyncio.to_thread(lambda: get(changed(callback, *more), follow=False))
        assert first.status == 303
        assert re.fullmatch(r"\.\./result/[0-9a-f]{64}", first.headers["location"])
        assert (await asyncio.to_thread(get, urljoin(callback, first.headers["location"]))).status == 200

    async def test_o22_the_answer_leads_to_a_clean_address_and_is_kept_nowhere(self, program):
        callback = await program.callback()
        first = await asyncio.to_thread(lambda: get(callback, follow=False))
        assert first.status == 303
        assert first.body == ""
        assert {name: first.headers.get(name) for name in STRICT} == STRICT
        page = await asyncio.to_thread(get, urljoin(callback, first.headers["location"]))
        assert page.status == 200
        assert {name: page.headers.get(name) for name in STRICT} == STRICT
        assert not re.search(r"""(?:src|href|action)=["']?(?:https?:)?//""", page.body)
        for value in fields_of(callback).values():
            assert value not in page.body or value == program.server.issuer

    @pytest.mark.parametrize(
        ("started", "called"),
        [("/opt/agents/mail.py", "mail.py"), ("-c", "Your program"), ("x/__main__.py", "Your program")],
    )
    async def test_the_page_calls_the_program_as_its_user_does(self, program, monkeypatch, started, called):
        monkeypatch.setattr(sys, "argv", [started])
        page = await asyncio.to_thread(get, await program.callback())
        assert f"{called} can now use this account" in words(page)

    async def test_o21_after_a_post_a_browser_is_sent_on_by_303(self, ports):
        write_settings(ports)

        @function_tool(auth_provider=AuthProvider.SLACK, auth_handler="slack-token")
        def length(**kwargs) -> int:
            """Tell how long the token is."""
            return len(kwargs["SLACK_BOT_TOKEN"])

        with Pocket(tools=[length]) as pocket:
            (prompt,) = await pocket.initialize_tool_auth()
            form = await asyncio.to_thread(open_form, prompt.url)
            page = await asyncio.to_thread(lambda: form.send(follow=False, access_token="xoxb-a-token-1234"))
            assert page.status == 303
            assert re.fullmatch(r"result/[0-9a-f]{64}", page.headers["location"])
            await asyncio.to_thread(get, urljoin(form.action, page.headers["location"]))
            assert await pocket.ainvoke("length", {}) == "17"

    async def test_a_pasted_value_is_never_taken_from_an_address(self, ports):
        # Neither by GET at the form, nor through the callback that providers use.
        write_settings(ports)

        @function_tool(auth_provider=AuthProvider.SLACK, auth_handler="slack-token")
        def length(**kwargs) -> int:
            """Tell how long the token is."""
            return len(kwargs["SLACK_BOT_TOKEN"])

        with Pocket(tools=[length]) as pocket:
            (prompt,) = await pocket.initialize_tool_auth()
            for url in (
                f"{prompt.url}&access_token=xoxb-a-token-1234",
                prompt.url.replace("/token?", "/oauth2/callback?"),
            ):
                page = await asyncio.to_thread(lambda: get(f"{url}&access_token=xoxb-a-token-1234"))  # noqa: B023
                assert page.status in (200, 400)
                assert "xoxb-a-token" not in page.body
                assert (await pocket.ainvoke_with_state("length", {}))[1], "nothing was kept"
