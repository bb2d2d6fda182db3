"""The provider of a run: rotates, is slow, fails and drops by a seeded plan, and keeps the truth about every token."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from tests.chaos.history import Teller, fingerprint
from valetkey.testing.oauth.ledger import Family, Token
from valetkey.testing.oauth_server import OAuthServer

NUMBER = "x-chaos-number"
"""The header by which a worker numbers its requests: "2.0#17"."""

LIVES = 2, 4
"""Whole seconds that an access token lives, at least and at most."""

PROMPT = 0.5
"""Seconds below which a slow answer still is one."""


@dataclass(frozen=True, slots=True)
class Mood:
    """How the provider is now: chances of each kind of fault, of one request.

    Attributes:
        slow: it takes a part of the client's deadline, before or after it acted.
        late: it takes longer than the client waits; it acts all the same, before or after the client gave up.
        fails: 5xx, before it acted.
        busy: 429 with Retry-After.
        cut: the connection is cut before it acted.
        lost: it acted, and its answer is cut or replaced by a 5xx.
    """

    slow: float = 0.0
    late: float = 0.0
    fails: float = 0.0
    busy: float = 0.0
    cut: float = 0.0
    lost: float = 0.0


CALM = Mood()
USUAL = Mood(slow=0.2, late=0.01, fails=0.04, busy=0.02, cut=0.02, lost=0.02)
STORM = Mood(slow=0.4, late=0.05, fails=0.15, busy=0.05, cut=0.1, lost=0.05)
AWAY = Mood(fails=0.7, cut=0.3)
MOODS = {"calm": CALM, "usual": USUAL, "storm": STORM, "away": AWAY}


class Provider:
    """An OAuth server before which faults stand.

    Args:
        teller: where the truth is told.
        accounts: subjects that may be connected.
        grace: seconds in which a refresh token that was used may be used again; 0: its family ends.
        deadline: seconds that a client waits.
        seed: decides lives and faults, request by request.
    """

    def __init__(self, teller: Teller, *, accounts: list[str], grace: float, deadline: float, seed: int) -> None:
        self.server = OAuthServer(
            users={account: account for account in accounts},
            reuse_grace=grace,
            routes=[Route("/chaos/consent", self._consent, methods=["POST"])],
        )
        self.mood = CALM
        self._teller = teller
        self._deadline = deadline
        self._dice = random.Random(seed)  # noqa: S311 - a plan, no secret
        self._families: dict[int, str] = {}
        self._inner = self.server.app
        self._dead: set[str] = set()
        self.server._app = self

    @contextmanager
    def running(self) -> Iterator[Provider]:
        """Serve it on loopback."""
        with self.server:
            yield self

    @property
    def settings(self) -> dict[str, Any]:
        """Who we are there, as settings have it."""
        server = self.server
        return {
            "client_id": server.client.id,
            "client_secret": server.client.secret,
            "authorize_url": server.authorize_url,
            "token_url": server.token_url,
            "revoke_url": server.revoke_url,
        }

    def withdraw(self, subject: str) -> bool:
        """As the account's owner may do there: end all that was granted for it. Whether there was anything."""
        with self.server._lock:
            alive = {id(family): family for family in self._all() if family.alive and family.subject == subject}
            for family in alive.values():
                family.alive = False
                self._died(family, "withdrawn", "")
        return bool(alive)

    def alive(self) -> list[str]:
        """Every family that has a token which still does something."""
        with self.server._lock:
            ledger = self.server._ledger
            return sorted({self._name(token.family) for token in ledger.tokens.values() if ledger.is_live(token)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The app that is served."""
        path = scope.get("path", "")
        what = {"/token": "refresh", "/revoke": "revoke", "/api/mail": "api"}.get(path)
        if scope["type"] != "http" or what is None:
            await self._inner(scope, receive, send)
            return
        try:
            body = await Request(scope, receive).body()
        except ClientDisconnect:
            return  # it was killed while it sent
        form = dict(parse_qsl(body.decode()))
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        if what == "refresh" and form.get("grant_type") != "refresh_token":
            what = "exchange"
        value = form.get("refresh_token") or form.get("token") or headers.get("authorization", "").partition(" ")[2]
        await self._serve(what, headers.get(NUMBER, "?"), value, scope, _given(body, receive), send)

    async def _serve(self, what: str, n: str, value: str, scope: Scope, receive: Receive, send: Send) -> None:
        before, after, fault = self._fault() if what in ("refresh", "revoke") else (0.0, 0.0, "")
        with self.server._lock:
            token = self.server._ledger.tokens.get(value)
            family = None if token is None else self._name(token.family)
        about = {"n": n, "what": what, "token": fingerprint(value), "family": family}
        self._teller.tell("arrived", **about, fault=fault)
        await asyncio.sleep(before)
        if fault in ("fails", "busy", "cut"):
            await self._fail(fault, scope, receive, send)
            return
        answer = await self._act(scope, receive, n, about, token)
        await asyncio.sleep(after)
        if fault == "lost":
            await self._fail(self._dice.choice(["fails", "cut"]), scope, receive, send)
        else:
            await answer(scope, receive, send)

    async def _act(
        self, scope: Scope, receive: Receive, n: str, about: dict[str, Any], token: Token | None
    ) -> Response:
        """What the server makes of it, told before anybody else can know."""
        sent: list[Message] = []

        async def keep(message: Message) -> None:
            sent.append(message)

        # Read and used by the server in one go, so that each token has a life of its own.
        object.__setattr__(self.server._options, "access_lifetime", float(self._dice.randint(*LIVES)))
        alive = token is not None and token.family.alive
        await self._inner(scope, receive, keep)
        body = b"".join(message.get("body", b"") for message in sent[1:])
        status = int(sent[0]["status"])
        if about["what"] in ("refresh", "exchange") and status == 200:
            given = json.loads(body)
            with self.server._lock:
                family = self.server._ledger.tokens[given["access_token"]].family
            self._teller.tell(
                "issued",
                n=n,
                parent=about["token"] if about["what"] == "refresh" else None,
                access=fingerprint(given["access_token"]),
                refresh=fingerprint(given["refresh_token"]),
                family=self._name(family),
                subject=family.subject,
            )
        elif status != 200:
            self._teller.tell("refused", **about, status=status)
        if token is not None and alive and not token.family.alive:
            with self.server._lock:
                self._died(token.family, "revoked" if about["what"] == "revoke" else "reuse", n)
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Response(body, status, headers)

    async def _fail(self, how: str, scope: Scope, receive: Receive, send: Send) -> None:
        if how == "cut":
            scope["state"]["transport"].abort()
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        answers: dict[str, Callable[[], Response]] = {
            "fails": lambda: Response("no", self._dice.choice([500, 502, 503])),
            "busy": lambda: Response("", 429, {"retry-after": "1"}),
        }
        await answers[how]()(scope, receive, send)

    def _fault(self) -> tuple[float, float, str]:
        """Seconds before it acts, seconds after, and what goes wrong besides."""
        mood, dice = self.mood, self._dice
        draw = dice.random()
        for name in ("late", "fails", "busy", "cut", "lost", "slow"):
            chance = getattr(mood, name)
            if draw < chance:
                if name == "slow":
                    waits = dice.uniform(0.05, PROMPT)
                    return (waits, 0.0, name) if dice.random() < 0.5 else (0.0, waits, name)
                if name == "late":
                    waits = self._deadline * dice.uniform(1.1, 2.0)
                    return (waits, 0.0, name) if dice.random() < 0.5 else (0.0, waits, name)
                return dice.uniform(0.0, 0.05), 0.0, name
            draw -= chance
        return 0.0, 0.0, ""

    async def _consent(self, request: Request) -> Response:
        """A person who says yes: an authorization URL and an account in, the callback URL out."""
        asked = await request.json()
        return JSONResponse({"url": self.server.approve(asked["url"], user=asked["account"])})

    def _all(self) -> list[Family]:
        return [token.family for token in self.server._ledger.tokens.values()]

    def _name(self, family: Family) -> str:
        return self._families.setdefault(id(family), f"family{len(self._families)}")

    def _died(self, family: Family, why: str, n: str) -> None:
        name = self._name(family)
        if name not in self._dead:
            self._dead.add(name)
            self._teller.tell("dead", family=name, why=why, n=n)


def _given(body: bytes, receive: Receive) -> Receive:
    """The body that was read, once more; then whatever comes."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again
