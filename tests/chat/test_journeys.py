"""Journeys at the chat's page in a real Chromium, with a scripted chat behind it."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.chat.browsing import browser, somebody
from tests.chat.fake_chat import SESSION, Fake, Wire, page_app, served
from tests.real.browser import overflow
from valetkey.settings.bedrock import ChatConfig

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

SECRET = "tok-sekret-1f4e"
HOSTILE = "<img src=x onerror=alert(1)><svg onload=alert(2)></script><script>alert(3)</script>"
ANSWER = "Three **orders**:\n\n| No | Total |\n|:--|--:|\n| 1042 | 12.50 |\n\n- see [the shop](https://shop.example/a?b=1&c=2)\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Any]:
    async with browser() as opened:
        yield opened


def called(status: str, **more: Any) -> dict[str, Any]:
    return {"call_id": "c1", "tool": "list_orders", "arguments": {"status": "open"}, "status": status, **more}


async def shop(wire: Wire, frame: dict[str, Any]) -> None:
    """What the assistant of this shop does, by a word in the message."""
    text = frame.get("message", "")
    if frame["type"] == "approve":
        await wire.say("ai_response", "As you wish.", tool_calls=[], tool_results=[], metadata={})
        return
    await wire.say("typing", "AI is thinking...")
    if "pay" in text:
        arguments = {"order": "1042", "amount": 12345678901234567890, "note": f"a\u202eb {HOSTILE}", "long": "x" * 5000}
        about = {"approval_id": "a1", "tool": "pay_order", "arguments": arguments, "expires_at": "2026-11-22T14:10:00"}
        await wire.say("approval_required", "pay_order waits for your approval.", **about)
    elif "channels" in text:
        await wire.say("tool_progress", "list_orders waits for you", **called("waiting"))
        about = {"provider": "slack", "provider_title": "Slack", "scopes": ["channels:read"], "request_id": "r1"}
        url = "https://slack.com/oauth/v2/authorize?client_id=1"
        await wire.say("auth_required", "Open the link.", **about, tool="list_orders", url=url, expires_at=None)
    elif "slowly" in text:
        await wire.say("tool_progress", "Calling list_orders... (1/1)", **called("running"))
        await wire.say("delta", "", message_id="m1", text="Three **ord")
    else:
        await wire.say("tool_progress", "Calling list_orders... (1/1)", **called("running"))
        ended = called("done", result=[{"id": "1042"}], seconds=0.42, account="bearer_token")
        await wire.say("tool_progress", "list_orders finished (1/1)", **ended)
        await wire.say("delta", "", message_id="m1", text=ANSWER[:9])
        calls = [{"id": "c1", "name": "list_orders", "arguments": {"status": "open"}}]
        results = [{"tool_call_id": "c1", "name": "list_orders", "result": [{"id": "1042"}]}]
        await wire.say("ai_response", ANSWER, tool_calls=calls, tool_results=results, metadata={}, message_id="m1")


@pytest.mark.requirement("chat.page-texts", "D.page")
@pytest.mark.node
async def test_a_person_signs_in_and_asks_by_the_keyboard_and_reads_what_was_called(running):
    fake = Fake(shop)
    async with served(page_app(fake, ChatConfig())) as origin, somebody(running) as person:
        page = person.page
        await person.open(origin)
        await person.look_at("panel")
        await person.sign_in("bearer_token", token=SECRET)
        assert {"type": "auth", "auth_type": "bearer_token", "token": SECRET} in fake.heard
        await person.badge("Bearer token")
        assert await page.evaluate("document.activeElement.id") == "message"

        await page.keyboard.type("What is")
        await page.keyboard.press("Shift+Enter")
        await page.keyboard.type("open?")
        await page.keyboard.press("Enter")
        assert await page.locator("#log td").all_inner_texts() == ["1042", "12.50"]
        assert fake.heard[-1] == {"type": "chat", "message": "What is\nopen?"}
        link = page.locator("#log .md a")
        assert await link.get_attribute("href") == "https://shop.example/a?b=1&c=2"
        assert await link.get_attribute("rel") == "noopener noreferrer nofollow"
        await page.locator("details.call summary").focus()
        await page.keyboard.press("Enter")
        card = await page.inner_text("details.call")
        assert all(
            each in card for each in ("done", "0.4 s", "this session's Bearer token", '"status": "open"', '"1042"')
        )
        assert "Three orders" in await page.inner_text("#told")
        await person.look_at("cards")
        kept = await page.evaluate("[JSON.stringify(sessionStorage), localStorage.length, document.cookie]")
        assert kept == [json.dumps({"valetkey-chat-session": SESSION}, separators=(",", ":")), 0, ""]
        assert SECRET not in await page.content()

        await page.click("#log-out")
        await person.reads("You are logged out.")
        assert "order" not in await person.text()
        assert await page.evaluate("sessionStorage.length") == 0
        await page.goto("about:blank")
        await page.go_back()
        await person.badge("Connected")
        assert await person.text() == ""


@pytest.mark.requirement("D.page", "X-30")
@pytest.mark.node
async def test_a_person_is_asked_to_connect_an_account_and_to_approve_a_call(running):
    fake = Fake(shop)
    async with served(page_app(fake, ChatConfig(enable_tool_auth=False))) as origin, somebody(running) as person:
        page = person.page
        await person.open(origin)
        assert await page.locator("dialog[open]").count() == 0
        await person.ask("the channels")
        connect = page.get_by_role("link", name="Connect Slack")
        assert (await connect.get_attribute("target"), await connect.get_attribute("rel")) == (
            "_blank",
            "noopener noreferrer",
        )
        assert "You sign in at slack.com." in await person.text()
        await person.look_at("connect")
        await fake.wires[-1].say("connection_ready", "Slack is connected.", request_id="r1")
        await page.locator(".connect .good", has_text="connected").wait_for()
        assert await connect.count() == 0

        await page.keyboard.press("Escape")
        await person.reads("Stopped.")
        await person.ask("pay it")
        await page.locator(".ask.approve").wait_for()
        whole = await page.inner_text(".ask.approve pre")
        assert "b <img src=x" in whole  # and what turns the reading order is written out
        assert "a\\u{202e}b" in whole
        assert "12345678901234567890" in whole
        assert "x" * 5000 in whole
        await person.look_at("approve")
        await page.get_by_role("button", name="Approve").press("Enter")
        await person.reads("As you wish.")
        assert {"type": "approve", "approval_id": "a1", "decision": "yes"} in fake.heard


@pytest.mark.requirement("chat.page-texts", "fault.xss", "fault.ui-oauth2", "D.page")
async def test_each_type_has_its_fields_and_nothing_that_was_entered_stays(running):
    fake = Fake(shop)
    fields = {
        "bearer_token": {"token": SECRET},
        "basic_auth": {"username": "ann", "password": SECRET},
        "api_key": {"api_key": SECRET, "api_key_header": "X-Key"},
        "oauth2": {
            "client_id": "me",
            "client_secret": SECRET,
            "token_url": "https://issuer.example/token",
            "scope": "a b",
        },
    }
    entered = "[...document.querySelectorAll('#sign-in input')].map(each => each.value).join()"
    types = "[...document.querySelectorAll('#sign-in input')].filter(each => each.autocomplete !== 'off').length"
    async with served(page_app(fake, ChatConfig(default_auth_type="api_key"))) as origin, somebody(running) as person:
        page = person.page
        await person.open(origin)
        assert await page.input_value("#auth-type") == "api_key"
        for kind, values in fields.items():
            await person.sign_in(kind, **values)
            assert fake.heard[-1] == {"type": "auth", "auth_type": kind, **values}
            assert await page.locator("#sign-in input").count() == 0
            await page.click("#open-sign-in")
            assert SECRET not in await page.evaluate(entered)
            for name in values:
                await page.select_option("#auth-type", kind)
                hidden = await page.get_attribute(f"#auth-{name}", "type") == "password"
                assert hidden == (values[name] == SECRET)
            secret = next(name for name, value in values.items() if value == SECRET)
            await page.fill(f"#auth-{secret}", SECRET)
            await page.select_option("#auth-type", "custom")
            await page.select_option("#auth-type", kind)
            assert SECRET not in await page.evaluate(entered)
            assert await page.evaluate(types) == 0
        fake.refusal = "Credential verification failed (HTTP 401): no"
        await page.select_option("#auth-type", "bearer_token")
        await page.fill("#auth-token", SECRET)
        await page.keyboard.press("Enter")
        await page.get_by_role("alert").get_by_text(fake.refusal).wait_for()
        assert fake.heard[-1]["token"] == SECRET
        assert await page.input_value("#auth-token") == ""
        assert await page.is_hidden("#log-out")  # what was good before is forgotten, too
        fake.refusal = ""
        await page.select_option("#auth-type", "custom")
        await page.click("#add-header")
        for row, (name, value) in enumerate({"X-One": "1", "X-Two": SECRET}.items()):
            await page.locator("#sign-in input[name=header]").nth(row).fill(name)
            await page.locator("#sign-in input[name=value]").nth(row).fill(value)
        await page.click("#auth-send")
        await page.locator("#sign-in").wait_for(state="hidden")
        assert fake.heard[-1] == {
            "type": "auth",
            "auth_type": "custom",
            "custom_headers": {"X-One": "1", "X-Two": SECRET},
        }


@pytest.mark.requirement("seed003.require", "chat.presets")
async def test_where_credentials_are_required_there_is_no_way_round_the_panel(running):
    fake = Fake(shop)
    presets = [{"label": "One order", "template": "Show {{ORDER_ID}}, please"}]
    settings = ChatConfig(require_tool_auth=True, supported_auth_types=["oauth2"], preset_prompts=presets)
    async with served(page_app(fake, settings)) as origin, somebody(running) as person:
        page = person.page
        await person.open(origin)
        assert await page.locator("#auth-skip, #auth-type").locator("visible=true").count() == 0
        await page.keyboard.press("Escape")
        assert not await page.is_visible("#message")
        assert await page.is_disabled(".preset")
        await page.click("#unlock")
        values = {"client_id": "me", "client_secret": SECRET, "token_url": "https://issuer.example/token"}
        for name, value in values.items():
            await page.fill(f"#auth-{name}", value)
        await page.click("#auth-send")
        await page.click(".preset")
        await page.fill("#preset-ORDER_ID", "1042 {{ORDER_ID}}")
        await page.click("#preset button[type=submit]")
        await person.reads("Show 1042 {{ORDER_ID}}, please")
        assert fake.heard[-1] == {"type": "chat", "message": "Show 1042 {{ORDER_ID}}, please"}


@pytest.mark.requirement("chat.page-texts", "fault.ui-reconnect", "D.page")
async def test_after_a_broken_connection_the_page_says_what_is_there_and_what_is_not(running):
    fake = Fake(shop)
    async with served(page_app(fake, ChatConfig(max_frame_size=2000))) as origin, somebody(running) as person:
        page = person.page
        await person.open(origin)
        await person.sign_in("bearer_token", token=SECRET)
        await person.ask("x" * 2000)
        await person.reads("too long for the server")
        await person.ask("slowly")
        await page.locator("#log strong, #log .md p").first.wait_for()
        fake.said = [
            {"role": "user", "content": "slowly", "timestamp": "2026-11-22T14:04:00"},
            {"role": "assistant", "content": "Stopped *there*.", "tool_calls": [], "tool_results": []},
        ]
        await fake.wires[-1].close(1012)
        await person.reads("Credentials are not kept: give them again")
        assert fake.wires[-1].asked == SESSION
        assert await page.locator("#log em").inner_text() == "there"
        assert await page.is_hidden("#log-out")
        assert [frame["type"] for frame in fake.heard].count("auth") == 1

        for code, words in ((4408, "idle for long"), (4409, "another tab"), (4401, "Your sign-in here has ended")):
            wires = len(fake.wires)
            await fake.wires[-1].close(code)
            await person.reads(words)
            await person.badge("Not connected")
            assert len(fake.wires) == wires
            if code == 4401:
                assert "slowly" not in await person.text()
            await page.get_by_role("button", name="Connect again").last.click()
            await person.badge("Connected")
            assert fake.wires[-1].asked == ("" if code == 4408 else SESSION)
        await fake.wires[-1].say("error", "Rate limit exceeded, try again in 5 s")
        await page.get_by_role("alert").get_by_text("try again in 5 s").wait_for()
        fake.resumed = False
        await fake.wires[-1].close(1011)
        await person.reads("does not remember what stands above")


MARKDOWN = [
    "[a](javascript:alert(1)) [b](JaVaScRiPt:alert(1)) [c](data:text/html,<script>alert(1)</script>) [d](vbscript:x)",
    "<javascript:alert(1)>",
    "[e](java\tscript:alert(1)) [f](&#106;avascript:alert(1)) [g](//evil.example) [h](/bedrock-chat/ui)",
    "![i](https://evil.example/leak.png?d=1) ![j](javascript:alert(1)) ![k](data:image/svg+xml,<svg onload=alert(1)>)",
    "<img src=x onerror=alert(1)> <svg><script>alert(1)</script></svg>",
    '<iframe srcdoc="<script>alert(1)</script>"></iframe>',
    "<style>body{display:none}</style>",
    '<math><mtext><table><mglyph><style><!--</style><img title="--><img src onerror=alert(1)>">',
    "<form action=https://evil.example><input name=a></form>",
    "<base href=https://evil.example><meta http-equiv=refresh content=0>",
    '[x](https://ok.example "\\"onmouseover=alert(1)") `<b>` **<u>u</u>**\n\n```"><script>alert(1)</script>\n<i>\n```',
    "[r]\n\n[r]: javascript:alert(1)\n\n| <img src=x onerror=alert(1)> |\n|--|\n| [y](javascript:alert(1)) |",
    "> " * 200 + "deep",
]
TOO_DEEP = "> " * 5000 + "deeper"


async def hostile(wire: Wire, frame: dict[str, Any]) -> None:
    about = {"call_id": HOSTILE, "tool": HOSTILE, "arguments": {HOSTILE: HOSTILE}, "status": HOSTILE}
    await wire.say("typing", HOSTILE)
    await wire.say("tool_progress", HOSTILE, **about)
    account = {"provider": HOSTILE, "account": HOSTILE, "profile": HOSTILE}
    await wire.say(
        "tool_progress",
        HOSTILE,
        **{**about, "status": "done", "result": HOSTILE, "seconds": HOSTILE, "account": account},
    )
    for number, url in enumerate(["javascript:alert(1)", "https://ok.example@evil.example/", "data:text/html,x"]):
        asked = {"provider": HOSTILE, "scopes": [HOSTILE], "tool": HOSTILE, "url": url, "request_id": str(number)}
        await wire.say("auth_required", HOSTILE, **asked, expires_at=HOSTILE)
    await wire.say(
        "approval_required", HOSTILE, approval_id=HOSTILE, tool=HOSTILE, arguments={HOSTILE: HOSTILE}, expires_at=None
    )


async def hostile_to_the_end(wire: Wire) -> None:
    for text in MARKDOWN:
        await wire.say("delta", "", message_id="m", text=f"{text}\n\n")
    calls = [{"id": "9", "name": HOSTILE, "arguments": {"a": HOSTILE}}]
    results = [{"tool_call_id": "9", "name": HOSTILE, "error": HOSTILE}]
    await wire.say("ai_response", "\n\n".join(MARKDOWN), tool_calls=calls, tool_results=results, metadata={})
    await wire.say("ai_response", HOSTILE, error=True)
    await wire.say("error", HOSTILE)
    await wire.say("__proto__", HOSTILE)
    await wire.say("auth_configured", HOSTILE, auth_type=HOSTILE, display_name=HOSTILE)
    await wire.say("ai_response", TOO_DEEP)
    await wire.say("ai_response", "over", tool_calls=None, tool_results=None, metadata=None)


@pytest.mark.requirement("W-11", "fault.xss")
async def test_nothing_that_a_model_a_tool_or_a_provider_says_becomes_markup(running):
    fake = Fake(hostile)
    fake.said = [
        {"role": "user", "content": HOSTILE},
        {"role": "assistant", "content": MARKDOWN[4], "tool_calls": [{"id": 1, "name": HOSTILE}]},
    ]
    settings = ChatConfig(
        ui_title=HOSTILE, ui_welcome_message=HOSTILE, preset_prompts=[{"label": HOSTILE, "template": HOSTILE}]
    )
    async with served(page_app(fake, settings)) as origin, somebody(running) as person:
        page = person.page
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        await person.open(origin)
        await person.skip()
        await person.ask(HOSTILE)
        await person.reads("You sign in at evil.example")  # the host, not the name before it
        await hostile_to_the_end(fake.wires[-1])
        await person.reads("over")
        text = await person.text()
        assert text.count("<img src=x onerror=alert(1)>") > 12
        assert "deep" in text
        assert "deeper" in text
        foreign = (
            "img, svg, script, iframe, style, math, form, object, embed, link, base, meta, input, [style], [onerror]"
        )
        assert await page.locator("#log").locator(foreign).count() == 0
        links = await page.locator("#log a").evaluate_all("all => all.map(each => each.href)")
        assert set(links) == {"https://evil.example/leak.png?d=1", "https://ok.example/"}
        assert await page.locator("#log a:not([rel*=noopener])").count() == 0
        await page.reload()
        await person.reads("onerror")
        assert await page.locator("#log").locator(foreign).count() == 0
        assert await page.title() == re.sub(r"\s+", " ", HOSTILE)
        assert dialogs == []
        assert await overflow(page) == 0
