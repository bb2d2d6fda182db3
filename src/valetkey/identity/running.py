"""_parse_token, parse_token: a host program's own parser asks the server that runs here what it makes of a token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from valetkey.errors import CouldNotTell, Denied, Unauthenticated
from valetkey.identity.chain import UNKNOWN, Chain
from valetkey.model.caller import Caller
from valetkey.model.calls import BEARER, Presented
from valetkey.model.users import UserInfo, UserPermission
from valetkey.ports.world import Home
from valetkey.secret import Secret


@dataclass(kw_only=True)
class Parsing:
    """One parser's look at one token.

    Attributes:
        running: the server that asks; None: it has not started.
        vouched: who the server said it is, when the parser asked, with the copies that the parser got.
        unknown: what it was told when the server did not know the token.
    """

    running: Running | None
    vouched: list[tuple[UserInfo, Caller]] = field(default_factory=list)
    unknown: BaseException | None = None

    def caller_of(self, user: UserInfo) -> Caller | None:
        """The caller behind a user whom the parser hands on as it got it."""
        return next((caller for copy, caller in self.vouched if copy is user), None)


PARSING: ContextVar[Parsing | None] = ContextVar("valetkey-parsing", default=None)
"""Set while a parser runs: with two servers in one process it asks its own."""


class Running:
    """A server, as a parser asks it.

    Args:
        chain: all its verifiers but the parsers.
        home: the loop on which that chain runs.
        alive: whether it runs still: an app may be dropped without being told to end.
    """

    def __init__(self, chain: Chain, home: Home, *, alive: Callable[[], bool]) -> None:
        self._chain = chain
        self._home = home
        self.alive = alive

    def begin(self) -> None:
        """From now on this is the one that is asked outside of parsers, too."""
        _RUNNING.append(self)

    def end(self) -> None:
        """It runs no more."""
        if self in _RUNNING:
            _RUNNING.remove(self)

    def ask(self, token: str, workspace: str | None, parsing: Parsing | None) -> Any:
        """Who it is: awaitable on a loop; elsewhere this thread waits."""
        question = _Question(self, token, workspace, parsing)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._home.block(question.answer)
        return question

    async def identify(self, token: str, workspace: str | None, parsing: Parsing | None) -> UserInfo:
        """Who it is, on the home loop.

        Raises:
            Unauthenticated: the token is not good, or not known.
            CouldNotTell: it cannot be judged now.
            Denied: it is for another workspace.
        """
        try:
            caller = await self._chain.identify(Presented(scheme=BEARER, value=Secret(token)))
        except Unauthenticated as error:
            if parsing is not None and str(error) == UNKNOWN:
                parsing.unknown = error
            raise
        if caller.user is None:
            raise Unauthenticated(UNKNOWN)
        user = caller.user.model_copy(deep=True)  # what the parser does to it stays its own
        user._principal = caller.principal  # noqa: SLF001
        if workspace is not None:
            _check(user, workspace)
        if parsing is not None:
            parsing.vouched.append((user, caller))
        return user

    async def here(self, question: _Question) -> UserInfo:
        """The answer, from any loop."""
        return await self._home.run(question.answer)


@dataclass(frozen=True, slots=True)
class _Question:
    """Not a coroutine: a parser that does not await it leaves no warning behind."""

    running: Running
    token: str = field(repr=False)
    workspace: str | None
    parsing: Parsing | None

    async def answer(self) -> UserInfo:
        return await self.running.identify(self.token, self.workspace, self.parsing)

    def __await__(self) -> Generator[Any, None, UserInfo]:
        return self.running.here(self).__await__()


_RUNNING: list[Running] = []


def parse_token(authorization: str, expected_workspace: str | None = None) -> Any:
    """The user behind a token, as the running server knows it; parsers that were put in place are not asked.

    Gives an awaitable of a `UserInfo`; called outside of any event loop it waits and gives the `UserInfo` itself.

    Args:
        authorization: the token, with or without ``Bearer``.
        expected_workspace: the one in which it must act.

    Raises:
        Unauthenticated: the token is not good, or not known here.
        Denied: it is not for that workspace.
        CouldNotTell: it cannot be judged now, or no server runs in this process.
    """
    parsing = PARSING.get()
    latest = next((each for each in reversed(_RUNNING) if each.alive()), None)
    running = latest if parsing is None else parsing.running
    if running is None:
        raise CouldNotTell("No Valetkey server runs in this process. Call this where one does, such as in a parser.")
    if not isinstance(authorization, str):
        raise Unauthenticated(f"A token is a text, not {type(authorization).__name__}.")
    scheme, space, rest = authorization.strip().partition(" ")
    token = rest.strip() if space and scheme.lower() == "bearer" else authorization.strip()
    return running.ask(token, expected_workspace, parsing)


_parse_token = parse_token
"""The name that seed 004's examples import."""


def _check(user: UserInfo, workspace: str) -> None:
    current = None if user.scope is None else user.scope.current_workspace
    if current is None:
        fits = workspace == user.get_workspace() or user.check_permission(workspace, UserPermission.read)
    else:
        fits = current == workspace
    if not fits:
        raise Denied(f"Token is not authorized for workspace '{workspace}'")
