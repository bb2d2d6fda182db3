"""The steps of the demo: what is done in each, and what has to be true at its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, urlsplit

from valetkey.cli.demo_program import PROVIDER, QUESTION, SCOPE, Agent, Setup, close_system, mail_tool, open_system
from valetkey.cli.demo_screen import Screen, conversation, shown_call
from valetkey.cli.ports import free_port
from valetkey.errors import AuthRefused, PortTaken
from valetkey.ports.agents import Message, Reply

if TYPE_CHECKING:
    from valetkey import Pocket
    from valetkey.testing.oauth_server import OAuthServer
    from valetkey.testing.visitor import Page

AGAIN = "Run it again; if it fails again, please report this line as a fault of Valetkey."
PORT = 8000
"""Where the agent's own pages are, as long as nobody else is there."""

PATIENCE = 300
"""Seconds that a person has for the consent."""

_TRIES = 4
_ASKED_FOR = 2  # messages, in QUESTION
_GO_ON = "The account is connected, go on."


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
    Step(name="start", title="Start: a mail service and an agent, on this machine", deadline=15, busy="Starting"),
    Step(name="ask", title="Ask: you want something, the model picks a tool", deadline=5),
    Step(name="link", title="Link: the tool needs an account", deadline=8),
    Step(name="consent", title="Consent: you decide, in your browser", deadline=8, patience=PATIENCE + 10),
    Step(name="call", title="Call: the same call, now with the account", deadline=8),
    Step(name="restart", title="Restart: the program ends and starts again", deadline=12, busy="Starting again"),
    Step(name="check", title="Check: who saw a secret?", deadline=4),
)


class StepFailed(Exception):
    """A step did not do what it should: what, and what to do next."""

    def __init__(self, what: str, next_step: str = AGAIN) -> None:
        super().__init__(f"{what.rstrip('. ')}. {next_step}")


class Journey:
    """One run of the demo. Each step returns what it did, in one line.

    Args:
        screen: where it is told.
        folder: an empty folder for the agent's data.
        port: where the agent's own pages are, unless somebody has it.
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
            step.name: getattr(self, f"_{step.name}") for step in STEPS
        }
        self._screen = screen
        self._folder = folder
        self._wanted_port = self._port = port
        self._given = server
        self._answer = answer
        self._auto = auto
        self._closing = contextlib.AsyncExitStack()
        self._program = contextlib.AsyncExitStack()
        self._second_seen = self._second_printed = ""

    async def close(self) -> None:
        """End the program and the mail service."""
        await self._program.aclose()
        await self._closing.aclose()

    async def _start(self) -> str:
        from valetkey.wiring.models import language_model

        self._screen.tell(
            "An agent is to read your mail. For that it needs your account, and it must never hold your password or "
            "token. Everything runs on this machine: the mail service with its sign-in page, and the agent. No real "
            "account is used, and a set of plain rules stands in for the language model."
        )
        await self._open_program()
        self._server = await self._closing.enter_async_context(self._given or _mail_service(self._port))
        client = self._server.client
        self._setup = Setup(
            folder=self._folder,
            port=self._port,
            authorize_url=self._server.authorize_url,
            token_url=self._server.token_url,
            issuer=self._server.issuer,
            api_url=self._server.mail_url,
            client_id=client.id,
            client_secret=client.secret or "",
        )
        self._pocket.load_tools(mail_tool(self._setup))
        self._agent = Agent(self._pocket, language_model())
        taken = "" if self._port == self._wanted_port else f" ({self._wanted_port} is taken)"
        return f"the mail service is {self._server.url}, the agent's own pages are on port {self._port}{taken}"

    async def _open_program(self) -> None:
        """A Pocket with its pages; when somebody takes the port in between, on the next free one."""
        from valetkey import Pocket

        for tries_left in range(_TRIES, -1, -1):
            self._port = free_port(self._wanted_port)
            async with contextlib.AsyncExitStack() as opened:
                await asyncio.to_thread(open_system, self._folder, self._port)
                opened.push_async_callback(asyncio.to_thread, close_system)
                self._pocket: Pocket = await opened.enter_async_context(Pocket())
                try:
                    await self._pocket.system.links.open()
                except PortTaken:
                    if not tries_left:
                        raise
                    continue
                self._program = opened.pop_all()
                return

    async def _ask(self) -> str:
        self._says(Message(role="user", text=QUESTION))
        self._agent.hear(QUESTION)
        self._wanted = self._think()
        if len(self._wanted.calls) != 1:
            raise StepFailed("the model did not call the mail tool.")
        return f"the model wants {shown_call(self._wanted.calls[0])}"

    async def _link(self) -> str:
        waits = await self._agent.act(self._wanted.calls)
        prompt = self._agent.messages[-1].results[0].text
        if not waits:
            raise StepFailed(f"the tool gave no link, but: {prompt}")
        self._url = prompt.rpartition(" ")[2]
        asked = parse_qs(urlsplit(self._url).query)
        if not self._url.startswith(self._server.authorize_url) or asked.get("code_challenge_method") != ["S256"]:
            raise StepFailed("the link does not lead to the mail service, or is not protected by PKCE.")
        self._screen.tell(
            "Valetkey holds the call back: nobody has connected a mailbox yet. The model only gets a link, for you."
        )
        self._agent.think()
        self._screen.says("Model", self._agent.messages[-1].text.partition("\n")[0])
        self._screen.link(self._url)
        return f"no account is connected yet; the link leads to {urlsplit(self._url).netloc}"

    async def _consent(self) -> str:
        try:
            return await self._consent_auto() if self._auto else await self._consent_person()
        except AuthRefused as refused:
            raise StepFailed(
                "the answer on the consent page was no, so the tool was not run.",
                "Run the demo again, and choose Allow.",
            ) from refused

    async def _consent_person(self) -> str:
        self._screen.tell(
            "Open the link in a browser on this machine, and choose Allow (or Deny, to see what happens then)."
        )
        await self._screen.wait(self._pocket.wait_tool_auth(), PATIENCE)
        return "you allowed it; the token went to Valetkey, sealed, and not to the model"

    async def _consent_auto(self) -> str:
        """Do what a person would do in the browser."""
        waiting = asyncio.ensure_future(self._pocket.wait_tool_auth())
        try:
            page = await asyncio.to_thread(_follow, self._url, self._answer)
            if page.status >= 400:  # noqa: PLR2004  # RFC 9110 §15.5
                await asyncio.wait({waiting}, timeout=1)
                if not waiting.done():
                    raise StepFailed(f'the last page says "{page.heading}" (HTTP status {page.status}).')
            await waiting
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        return f'signed in and allowed; the last page says "{page.heading}"'

    async def _call(self) -> str:
        self._says(Message(role="user", text=_GO_ON))
        self._agent.hear(_GO_ON)
        calls = self._think().calls
        if await self._agent.act(calls):
            raise StepFailed("the tool asked for the account again, although it is connected.")
        given = "".join(result.text for result in self._agent.messages[-1].results)
        if not _holds_messages(given):
            raise StepFailed(f"the tool gave no messages, but: {given}")
        self._answered = self._think().text
        shown = self._api_calls()
        if len(shown) != 1:
            raise StepFailed(f"the mail service was called {len(shown)} times, and not once.")
        return f"the mail service got {shown[0][1]}; the model got the messages"

    async def _restart(self) -> str:
        self._screen.tell("The agent's program ends here, and a new one starts with the same folder and question.")
        await self._program.aclose()
        second = await self._run_again()
        self._second_seen = str(second["seen"])
        if second["waited"] or second["answer"] != self._answered:
            raise StepFailed("the new process did not find the account that was connected before.")
        self._screen.says("Model", str(second["answer"]))
        return "a new process found the account: the same messages, and no link"

    async def _run_again(self) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(  # noqa: TID251  # the demo starts its own program, no other
            sys.executable,
            "-m",
            "valetkey.cli.demo_program",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            told, complaint = await process.communicate(json.dumps(asdict(self._setup)).encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        self._second_printed = (told + complaint).decode("utf-8", "replace")
        if process.returncode:
            last = (complaint.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"])[-1]
            raise StepFailed(f"the new process ended with status {process.returncode}: {last}")
        result: dict[str, Any] = json.loads(told)
        return result

    async def _check(self) -> str:
        rows = conversation(self._agent.tools, self._agent.messages)
        self._screen.panel("What the model saw", rows, "links are cut short here")
        self._screen.panel("What the mail service saw", self._api_calls(), "tokens are cut short here")
        from valetkey.testing.canary import find

        server = self._server
        secrets = [*server.issued, *server.codes, *filter(None, [server.client.secret])]
        control = find({"": self._headers()[0]}, secrets)
        places = await asyncio.to_thread(self._places)
        found = find(places, secrets)
        if not control or not server.issued:
            raise StepFailed("the search does not find a token even where one has to be.")
        if found:
            seen = ", ".join(sorted({f"{each.place} ({each.form})" for each in found}))
            raise StepFailed(f"a secret was found in: {seen}.", "Please report this as a fault of Valetkey.")
        self._screen.tell(
            "\nEvery token, code and client secret was looked for, as it is and coded, in all that the model saw, all "
            "that was printed, and all files that the agent wrote."
        )
        return f"{len(secrets)} secrets looked for in {len(places)} places: none was found"

    def _places(self) -> dict[str, str | bytes]:
        folder = Path(self._folder)
        files = {f"file {path.name}": path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
        return {
            "what the model saw": self._agent.seen,
            "what the model saw after the restart": self._second_seen,
            "what the new process printed": self._second_printed,
            **self._screen.printed,
            **files,
        }

    def _api_calls(self) -> list[tuple[str, str]]:
        """What the API was asked, and with what; of a token only its beginning."""
        path = urlsplit(self._server.mail_url).path
        rows = []
        for request, header in zip(self._requests(), self._headers(), strict=True):
            query = "&".join(f"{name}={value}" for name, value in request.query.items())
            scheme, _, token = header.partition(" ")
            rows.append((f"GET {path}?{query}", f"Authorization: {scheme} ***{token[:4]}…"))
        return rows

    def _requests(self) -> list[Any]:
        path = urlsplit(self._server.mail_url).path
        return [request for request in self._server.requests if request.path == path]

    def _headers(self) -> list[str]:
        return [request.headers.get("authorization", "") for request in self._requests()]

    def _think(self) -> Reply:
        reply = self._agent.think()
        self._says(self._agent.messages[-1])
        return reply

    def _says(self, message: Message) -> None:
        who = "You" if message.role == "user" else "Model"
        for text in filter(None, [message.text, *(f"calls {shown_call(call)}" for call in message.calls)]):
            self._screen.says(who, text)


def _mail_service(port: int) -> OAuthServer:
    from valetkey.testing.oauth.options import Client, RealDice
    from valetkey.testing.oauth_server import OAuthServer

    callback = f"http://localhost:{port}/proxy/auth/{PROVIDER}/oauth2/callback"
    return OAuthServer(
        [Client(id="demo-agent", secret=RealDice().token(24), redirect_uris=(callback,), title="The demo agent")],
        scopes={SCOPE: "Read your messages"},
        users={"you": "Demo account"},
        title="Acme Mail",
        mail_scope=SCOPE,
    )


def _holds_messages(text: str) -> bool:
    try:
        return len(json.loads(text)["messages"]) == _ASKED_FOR
    except (ValueError, LookupError, TypeError):
        return False


def _follow(url: str, answer: str) -> Page:
    """Open the link and answer the consent page; the page at the end."""
    from valetkey.testing.visitor import Visitor

    visitor = Visitor()
    return visitor.submit(visitor.open(url), answer=answer)
