"""The steps of the demo: what is done in each, and what has to be true at its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from valetkey.cli.demo_app import TOKEN, DemoApp, PortGone, Seen, Setup, StepFailed, example_file
from valetkey.cli.demo_browser import Browser, Frame
from valetkey.cli.demo_proof import Proof, mail_calls
from valetkey.cli.demo_screen import Screen, conversation, shown_call
from valetkey.cli.ports import free_port
from valetkey.errors import PortTaken
from valetkey.ports.agents import ToolCall

if TYPE_CHECKING:
    from valetkey.testing.oauth_server import OAuthServer

PORT = 8000
"""Where the app is, as long as nobody else is there."""

PATIENCE = 300
"""Seconds that a person has for what they do."""

SCOPE = "mail.read"
ORDERS = "What have I ordered?"
ECHO = "Which headers did you get?"
MAIL = "What are the 2 newest messages in my mailbox?"
SOCKET = "/bedrock-chat/ws"
STARS = "***"

_TRIES = 4
_OK = 200
_NOT_SIGNED_IN = 401


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the demo.

    Attributes:
        deadline: seconds; ``patience`` instead where a person does it.
        busy: what is said while it takes its time.
    """

    name: str
    title: str
    deadline: float
    patience: float | None = None
    busy: str = ""


STEPS = (
    Step(name="start", title="Start: a shop with a chat, and a mail service", deadline=16, busy="Starting"),
    Step(name="open", title="Open: the chat, in your browser", deadline=5, patience=PATIENCE),
    Step(name="sign in", title="Sign in: the chat gets your token for the shop", deadline=4, patience=PATIENCE),
    Step(name="ask", title="Ask: the model calls a tool, the shop gets your token", deadline=5, patience=PATIENCE),
    Step(name="echo", title="Echo: a careless tool sends your token back", deadline=4, patience=PATIENCE),
    Step(name="link", title="Link: another tool needs an account of yours", deadline=5, patience=PATIENCE),
    Step(name="connect", title="Connect: you decide, and the call goes on by itself", deadline=7, patience=PATIENCE),
    Step(name="restart", title="Restart: the shop ends and starts again", deadline=10, patience=PATIENCE),
    Step(name="check", title="Check: who saw a secret?", deadline=4),
)


class Journey:
    """One run of the demo. Each step returns what it did, in one line.

    Args:
        screen: where it is told.
        folder: an empty folder for the app's data.
        port: where the app is, unless somebody has it.
        server: where the account is; None: one is started.
        answer: what is answered on the consent page when nobody is there.
        auto: whether nobody is there.
    """

    def __init__(
        self,
        *,
        screen: Screen,
        folder: str,
        port: int,
        server: OAuthServer | None,
        answer: Literal["approve", "deny"],
        auto: bool,
    ) -> None:
        self.steps: dict[str, Callable[[], Awaitable[str]]] = {
            step.name: getattr(self, f"_{step.name.replace(' ', '_')}") for step in STEPS
        }
        self._screen = screen
        self._folder = Path(folder)
        self._wanted_port = port
        self._given = server
        self._answer = answer
        self._auto = auto
        self._closing = contextlib.AsyncExitStack()
        self._apps: list[DemoApp] = []
        self._passed = 0  # of what the app told: what counted already

    async def close(self) -> None:
        """End the browser, the app and the mail service."""
        await self._closing.aclose()

    @property
    def _app(self) -> DemoApp:
        return self._apps[-1]

    async def _start(self) -> str:
        self._screen.tell(
            "A shop puts a chat into its API. The chat is to call the shop for you, and to read your mail; it must "
            "never show a token to the model. Everything runs on this machine: the shop, and the mail service with "
            "its consent page. No real account is used, and plain rules stand in for the language model."
        )
        self._server = await self._closing.enter_async_context(self._given or _mail_service())
        await self._open_app(self._wanted_port)
        port = self._app.setup.port
        taken = "" if port == self._wanted_port else f" ({self._wanted_port} is taken)"
        return f"the shop is {self._app.setup.base}{taken}, the mail service {self._server.url}"

    async def _open_app(self, wanted: int) -> None:
        """A new app; when somebody takes the port in between, on the next free one."""
        for tries_left in range(_TRIES, -1, -1):
            setup = Setup(
                example=example_file(),
                port=free_port(wanted),
                mail_url=self._server.url,
                client_id=self._server.client.id,
                client_secret=self._server.client.secret or "",
            )
            app = DemoApp(self._folder, setup, self._follow)
            self._closing.push_async_callback(app.stop)
            try:
                await app.start()
            except PortGone:
                if not tries_left:
                    raise PortTaken(f"No port is free for the shop: {setup.port} was taken again.") from None
                continue
            self._apps.append(app)
            self._passed = 0
            return

    async def _open(self) -> str:
        if self._auto:
            self._browser = Browser(self._app.setup.base, SOCKET)
            self._closing.push_async_callback(self._browser.close)
            page = await self._browser.open()
            if page.status != _OK:
                raise StepFailed(f'the chat page says "{page.heading}" (HTTP status {page.status})')
            await self._browser.connect()
            return f'the page "{page.heading}" is there, and its chat answers'
        self._screen.tell("Open this in a browser on this machine:")
        self._screen.link(self._app.setup.base)
        await self._person(self._frame("connection_established"))
        return "your browser is in the chat"

    async def _sign_in(self) -> str:
        if self._auto:
            await self._browser.send(type="auth", auth_type="bearer_token", token=TOKEN)
            _checked(await self._browser.until("auth_configured"))
            return "the chat has the token for this session, in memory only"
        self._screen.tell(
            "In the sign-in panel of the page choose Bearer token, and paste this one, which the shop knows:"
        )
        self._screen.copy(TOKEN)
        await self._person(self._frame("auth_configured"))
        return "the chat has your token for this session, in memory only"

    async def _ask(self) -> str:
        await self._asked(ORDERS, "GET /api/orders", "Ask in the page (there is a button for it):")
        return "the model called list_orders(); the shop got your token, and the model the orders"

    async def _echo(self) -> str:
        await self._asked(ECHO, "GET /api/echo", "The shop has a route that sends back what it gets. Ask for it:")
        given = self._app.told("model")[-1]["messages"][-1]["results"][0]["text"]
        if TOKEN in given or STARS not in given:
            raise StepFailed("your token came back to the model", "Please report this as a fault of Valetkey.")
        return f"the shop sent your token back, and the model saw Bearer {STARS}"

    async def _asked(self, question: str, call: str, how: str) -> None:
        """Ask something that one call of the shop answers."""
        if self._auto:
            await self._browser.send(type="chat", message=question)
            _checked(await self._browser.until("ai_response"))
            self._passed = await self._app.until(self._frame("ai_response"), since=self._passed) + 1
        else:
            self._screen.tell(how)
            self._screen.copy(question)
            await self._person(lambda seen: seen["kind"] == "api" and seen["call"] == call, self._frame("ai_response"))
        asked = [seen for seen in self._app.told("api") if seen["call"] == call]
        if not asked or asked[-1]["status"] != _OK:
            raise StepFailed(f"the shop did not answer {call} with success: {_last_reply(self._app)}")

    async def _link(self) -> str:
        if self._auto:
            await self._browser.send(type="chat", message=MAIL)
            asked = _checked(await self._browser.until("auth_required", "ai_response"))
        else:
            self._screen.tell("Now ask for something that needs an account of yours elsewhere:")
            self._screen.copy(MAIL)
            asked = (await self._person(self._frame("auth_required")))["frame"]
        if asked["type"] != "auth_required":
            raise StepFailed(f"no account was asked for, but the answer is: {asked['message']}")
        self._url = str(asked["url"])
        if not self._url.startswith(self._app.setup.base):
            raise StepFailed("the link does not lead to the shop, where the browser is known.")
        return f"{asked['tool']} waits; the page offers to connect {asked['provider']} ({', '.join(asked['scopes'])})"

    async def _connect(self) -> str:
        if self._auto:
            page = await self._browser.answer(self._url, self._answer)
            answered = _checked(await self._browser.until("connection_ready", "ai_response"))
            if answered["type"] == "connection_ready":
                answered = _checked(await self._browser.until("ai_response"))
            said = f'; the last page says "{page.heading}"'
        else:
            self._screen.tell(
                "Press Connect in the page, continue, and choose Allow (or Deny, to see what happens then)."
            )
            seen = await self._person(self._frame("ai_response"))
            answered, said = seen["frame"], ""
        used = mail_calls(self._server)
        if not used:
            refused = self._answer == "deny" or not self._server.issued
            why = "the answer on the consent page was no" if refused else "the mailbox was not read"
            next_step = "Run the demo again, and choose Allow."
            raise StepFailed(f"{why}, so the tool was not run: {answered['message']}", next_step)
        self._first = _messages_in(answered)
        return f"the call went on by itself, and {len(self._first)} messages came{said}"

    async def _restart(self) -> str:
        port = self._app.setup.port
        self._screen.tell("The shop ends here. A new one starts with the same folder, and knows no session any more.")
        await self._app.stop()
        await self._open_app(port)
        if self._app.setup.port != port:
            raise StepFailed(f"somebody took port {port} in between")
        if self._auto:
            await self._browser.connect()
            await self._browser.send(type="chat", message=MAIL)
            answered = _checked(await self._browser.until("ai_response", "auth_required"))
        else:
            self._screen.tell("The page connects again by itself, in a few seconds. Ask the same, without signing in:")
            self._screen.copy(MAIL)
            seen = await self._person(lambda seen: _is_frame(seen, "ai_response", "auth_required"))
            answered = seen["frame"]
        if answered["type"] != "ai_response" or _messages_in(answered) != self._first:
            raise StepFailed("the new process did not find the account that was connected before.")
        return "a new process found the account: the same messages, and no link"

    async def _check(self) -> str:
        for app in self._apps:
            await app.stop()
        first = self._apps[0]
        self._screen.panel("What the model saw", conversation(*first.conversation))
        proof = Proof(self._apps, self._server, self._folder, printed=self._screen.printed, told_token=not self._auto)
        self._screen.panel("What the shop got", proof.shop_calls(), "credentials are cut short here")
        self._screen.panel("What the mail service got", proof.mail_calls(), "tokens are cut short here")
        looked_for, places = await asyncio.to_thread(proof.search)
        self._screen.tell(
            "\nEvery token, code and client secret was looked for, as it is and coded, in all that the model saw, all "
            "that the page got, all that was printed and logged (at DEBUG), and all files that the shop wrote."
        )
        return f"{looked_for} secrets looked for in {places} places: none was found"

    async def _person(self, *fits: Callable[[Seen], bool]) -> Seen:
        """Wait for what a person does in the page, one thing after the other; the last of them."""
        await self._screen.wait(self._all(fits), PATIENCE)
        return self._app.seen[self._passed - 1]

    async def _all(self, fits: Sequence[Callable[[Seen], bool]]) -> None:
        for each in fits:
            self._passed = await self._app.until(each, since=self._passed) + 1

    def _frame(self, kind: str) -> Callable[[Seen], bool]:
        return lambda seen: _is_frame(seen, kind)

    def _follow(self, seen: Seen) -> None:
        """Tell what goes on, to a person who watches."""
        if seen["kind"] == "model" and seen["messages"][-1]["role"] == "user":
            self._screen.says("You", seen["messages"][-1]["text"])
        elif seen["kind"] == "reply":
            for call in seen["calls"]:
                self._screen.says("Model", f"calls {shown_call(ToolCall(**call))}")
            if seen["text"]:
                self._screen.says("Model", seen["text"])
        elif seen["kind"] == "api" and seen["status"] == _NOT_SIGNED_IN:
            self._screen.says("Shop", f"{seen['call']}: 401. Sign in in the page first.")


def _is_frame(seen: Seen, *kinds: str) -> bool:
    return seen["kind"] == "frame" and seen["frame"].get("type") in kinds


def _checked(frame: Frame) -> Frame:
    if frame["type"] == "error" or frame.get("error"):
        raise StepFailed(f"the chat answered: {frame['message']}")
    return frame


def _last_reply(app: DemoApp) -> str:
    replies = app.told("reply")
    return str(replies[-1]["text"]) if replies else "it was not asked"


def _messages_in(answer: Frame) -> list[Any]:
    """The messages that the mail tool gave."""
    for result in answer.get("tool_results", ()):
        given = result.get("result", "")
        with contextlib.suppress(ValueError):
            given = json.loads(given) if isinstance(given, str) else given
        if isinstance(given, Mapping) and given.get("messages"):
            return list(given["messages"])
    raise StepFailed(f"the tool gave no messages, but: {answer['message']}")


def _mail_service() -> OAuthServer:
    from valetkey.testing.oauth.options import Client, RealDice
    from valetkey.testing.oauth_server import OAuthServer

    return OAuthServer(
        [Client(id="demo-shop", secret=RealDice().token(24), title="The corner shop")],
        scopes={SCOPE: "Read your messages"},
        users={"you": "Demo account"},
        title="Acme Mail",
        mail_scope=SCOPE,
    )
