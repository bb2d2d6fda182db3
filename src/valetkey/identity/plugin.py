"""register_auth_service, the part that is about identity: put your own parser and generator in place."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from valetkey.errors import (
    CouldNotTell,
    Denied,
    InvalidArguments,
    InvalidSetting,
    RateLimited,
    StoreUnavailable,
    Unauthenticated,
)
from valetkey.identity.handlers import check, check_handlers, is_async, outcome, presentable
from valetkey.identity.running import PARSING, Parsing, Running
from valetkey.model.caller import Caller, Owner
from valetkey.model.users import UserInfo
from valetkey.ports.world import Clock, Home

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from valetkey.identity.chain import Chain
    from valetkey.identity.tokens import Tokens

DEADLINE = 10.0
"""Seconds that a parser, a generator or a ``get_token`` may take."""

REFUSED = "This token is not accepted. Sign in again, or ask for a new one."
"""What is told where a parser's own text is not fit to be shown."""

LONGEST = 4096
_TOKEN = re.compile(r"[!-~]+")
_DEEPEST = 8  # awaitables of awaitables
_SHOWN = 200  # characters of a parser's own text
_SHARED = 8  # characters that such a text may have in common with the token
_PUBLIC = (Unauthenticated, Denied, CouldNotTell, RateLimited, StoreUnavailable)

_log = logging.getLogger("valetkey")


class InThread(Protocol):
    """Runs synchronous code of a host program in a thread, with the caller's context variables."""

    def __call__(self, work: Callable[[], Any], /) -> Awaitable[Any]:
        """The work's result."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What a parser made of a token.

    Attributes:
        caller: whom the server itself vouched for, where the parser asked and hands that user on.
    """

    user: UserInfo
    caller: Caller | None = None


class AuthPlugin:
    """What a host program put in place of ours, or beside it. For use on the home loop.

    Args:
        tokens: where tokens that a generator made are noted.
        clock: by it the tokens of a generator end.
        in_thread: where synchronous functions run.
        deadline: seconds that each call may take.
    """

    def __init__(
        self, *, tokens: Tokens, clock: Clock, in_thread: InThread = asyncio.to_thread, deadline: float = DEADLINE
    ) -> None:
        self._tokens = tokens
        self._clock = clock
        self._in_thread = in_thread
        self._deadline = deadline
        self._running: Running | None = None
        self._forget: Callable[[], None] = lambda: None
        self.reset()

    def reset(self) -> None:
        """Nothing is put in place any more."""
        self.exclusive = False
        self.login_app: ASGIApp | None = None
        self._parsers: tuple[Callable[..., Any], ...] = ()
        self._generator: Callable[..., Any] | None = None
        self._getter: Callable[..., Any] | None = None

    def open(
        self,
        *,
        plain: Chain,
        home: Home,
        forget: Callable[[], None] = lambda: None,
        in_thread: InThread | None = None,
        alive: Callable[[], bool] = lambda: True,
    ) -> None:
        """The server starts.

        Args:
            plain: asks all verifiers but the parsers; `parse_token` uses it.
            home: the loop on which it runs.
            forget: called when something is put in place: what was decided before is to be decided anew.
            in_thread: where synchronous functions run; None: where they did.
            alive: whether it runs still.
        """
        self.close()
        self._in_thread = in_thread or self._in_thread
        self._forget = forget
        self._running = Running(plain, home, alive=alive)
        self._running.begin()

    def close(self) -> None:
        """The server ends."""
        if self._running is not None:
            self._running.end()
            self._running = None

    @property
    def generates(self) -> bool:
        """Whether a generator makes the tokens."""
        return self._generator is not None

    @property
    def finds(self) -> bool:
        """Whether a ``get_token`` looks for the token in a request: then nothing else does (contract 1.2)."""
        return self._getter is not None

    async def register_auth_service(
        self,
        parse_token: Callable[..., Any] | None = None,
        generate_token: Callable[..., Any] | None = None,
        get_token: Callable[..., Any] | None = None,
        login_service: Mapping[str, Any] | None = None,
        index_handler: Callable[..., Any] | None = None,
        start_handler: Callable[..., Any] | None = None,
        check_handler: Callable[..., Any] | None = None,
        report_handler: Callable[..., Any] | None = None,
        exclusive: bool = False,  # noqa: FBT001, FBT002 - seed 004's callers name it
        **extra_handlers: Any,
    ) -> dict[str, Any] | None:
        """Put a host program's own functions in place; several parsers are asked in the order in which they came.

        Args:
            parse_token: ``parse_token(token)``: a `UserInfo`, a dict of one, None (not mine), or an exception (401).
            generate_token: ``generate_token(user_info, expires_in)``: the text of a token; the last one counts.
            get_token: ``get_token(scope)``: the token in a request, or None; the last one counts.
            login_service: handlers by name; those given by themselves go before.
            index_handler: ``index(event)``, the page.
            start_handler: ``start(workspace=None, expires_in=None)``.
            check_handler: ``check(key, timeout=180, profile=False)``.
            report_handler: ``report(key, token, **kwargs)``.
            exclusive: ask the parsers alone, not our own verifiers.
            extra_handlers: further methods of the login service.

        Returns:
            The host program's own login service, without what it left out; None: it gave none.

        Raises:
            InvalidArguments: one of them cannot be called as it will be. Nothing is put in place.
        """
        for name, function in (
            ("parse_token", parse_token),
            ("generate_token", generate_token),
            ("get_token", get_token),
        ):
            if function is not None:
                check(name, function)
        given = {
            "index": index_handler,
            "start": start_handler,
            "check": check_handler,
            "report": report_handler,
        }
        service = {**(login_service or {}), **{name: each for name, each in given.items() if each is not None}}
        service.update(extra_handlers)
        check_handlers(service, extra=extra_handlers)
        if exclusive and parse_token is None and not self._parsers:
            raise InvalidArguments("exclusive=True asks the parsers alone: give parse_token with it.")
        if parse_token is not None:
            self._parsers += (parse_token,)
        self._generator = generate_token or self._generator
        self._getter = get_token or self._getter
        self.exclusive = self.exclusive or exclusive
        self._forget()
        return service or None

    def set_parse_token_function(self, function: Callable[..., Any] | None) -> None:
        """Ask this parser and no other one; None: none at all."""
        if function is not None:
            check("parse_token", function)
        self._parsers = () if function is None else (function,)
        self.exclusive = self.exclusive and function is not None
        self._forget()

    def set_generate_token_function(self, function: Callable[..., Any] | None) -> None:
        """Make tokens with this generator; None: with ours."""
        if function is not None:
            check("generate_token", function)
        self._generator = function

    def set_get_token_function(self, function: Callable[..., Any] | None) -> None:
        """Find the token of a request with this function alone; None: as ever."""
        if function is not None:
            check("get_token", function)
        self._getter = function

    def set_login_service(self, app: ASGIApp | None) -> None:
        """Let an ASGI app serve every path under ``/public/apps/hypha-login/`` (decision 24); None: ours does."""
        if app is not None:
            check("login_service", app)
        self.login_app = app

    async def parse(self, text: str) -> Parsed | None:
        """Ask each parser in turn; None: none of them says that the token is its own.

        Raises:
            Unauthenticated: one refused it, took too long, or answered with something that is no user.
            CouldNotTell: it asked us, and it cannot be told now.
        """
        for parser in self._parsers:
            parsing = Parsing(running=self._running)
            reset = PARSING.set(parsing)
            try:
                value = await self._asked(parser, text, parsing)
            finally:
                PARSING.reset(reset)
            if value is not None:
                user = _user(value)
                if user is None:
                    _log.warning(
                        "the parser %s gave a %s instead of a UserInfo, a dict of one or None",
                        name_of(parser),
                        type(value).__name__,
                    )
                    raise Unauthenticated(REFUSED)
                return Parsed(user=user, caller=parsing.caller_of(value) if isinstance(value, UserInfo) else None)
        return None

    async def get_token(self, scope: Mapping[str, Any]) -> str | None:
        """The token that the host program's function finds in a request; None: none, or there is no such function.

        Raises:
            Unauthenticated: the function failed.
        """
        getter = self._getter
        if getter is None:
            return None
        try:
            value = await self._run(getter, dict(scope))
        except _PUBLIC:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the host program raises
            _log.warning("get_token %s raised %s", name_of(getter), type(error).__name__)
            raise Unauthenticated(REFUSED) from None
        if value is not None and not isinstance(value, str):
            _log.warning("get_token %s gave a %s instead of a text or None", name_of(getter), type(value).__name__)
            raise Unauthenticated(REFUSED)
        return value or None

    async def generate(
        self, user: UserInfo, expires_in: float, *, owner: Owner, name: str = "", parent: str = ""
    ) -> str:
        """A token by the host program's generator, noted by its hash.

        Args:
            user: who it is for; a parser that hands this user on later hands on the same principal.
            expires_in: seconds.
            owner: whose it is.
            name: for people.
            parent: the token with which it is made.

        Raises:
            InvalidSetting: there is no generator, or it gave no token.
        """
        generator = self._generator
        if generator is None:
            raise InvalidSetting("No generate_token was registered.")
        copy = user.model_copy(deep=True)
        copy._principal = (owner.issuer, owner.subject)  # noqa: SLF001
        copy.expires_at = self._clock.now() + expires_in
        try:
            text = await self._run(generator, copy, max(1, int(expires_in)))
        except Exception as error:  # noqa: BLE001 - whatever the host program raises
            _log.warning("generate_token %s raised %s", name_of(generator), type(error).__name__)
            raise InvalidSetting("This program's own generate_token failed. Ask who runs this server.") from None
        if not isinstance(text, str) or len(text) > LONGEST or not _TOKEN.fullmatch(text):
            _log.warning("generate_token %s gave no text that a header can hold", name_of(generator))
            raise InvalidSetting("This program's own generate_token gave no token. Ask who runs this server.")
        await self._tokens.note_custom(text, user, owner, expires_in=expires_in, name=name, parent=parent)
        return text

    async def _asked(self, parser: Callable[..., Any], text: str, parsing: Parsing) -> Any:
        try:
            return await self._run(parser, text)
        except _PUBLIC as error:
            if error is parsing.unknown:
                return None  # it fell back to us, and we do not know the token either: the next one may
            raise
        except _TooLong:
            _log.warning("the parser %s took more than %g s", name_of(parser), self._deadline)
            raise Unauthenticated(REFUSED) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise Unauthenticated(REFUSED) from None
        except BaseException as error:  # noqa: BLE001 - a parser's sys.exit() ends one request and not the server
            if isinstance(error, ValueError) and _fit_to_show(shown := presentable(error), text):
                raise Unauthenticated(shown) from None
            if not isinstance(error, ValueError):
                _log.warning("the parser %s raised %s", name_of(parser), type(error).__name__)
            raise Unauthenticated(REFUSED) from None

    async def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            async with asyncio.timeout(self._deadline) as limit:
                value = await self._called(function, arguments)
                for _ in range(_DEEPEST):
                    if not inspect.isawaitable(value):
                        return value
                    value = await value
        except TimeoutError:
            if limit.expired():
                raise _TooLong from None
            raise
        return value

    async def _called(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        if is_async(function):
            return function(*arguments)
        value, error = await self._in_thread(lambda: outcome(function, arguments))
        if error is not None:
            raise error
        return value


class _TooLong(Exception):
    """It took more than the deadline."""


def name_of(function: object) -> str:
    """What a function is called, with its module, for a line in the log."""
    kind = function if hasattr(function, "__qualname__") else type(function)
    return f"{getattr(kind, '__module__', '?')}.{getattr(kind, '__qualname__', '?')}"


def _user(value: object) -> UserInfo | None:
    """The user that a parser gave, checked and copied: what we note about it stays with us."""
    if not isinstance(value, UserInfo | dict):
        return None
    try:
        if isinstance(value, dict):
            return UserInfo.model_validate(value)
        user = UserInfo.model_validate(value.model_dump(warnings="none"))
        user._principal = value._principal  # noqa: SLF001
        user._metadata = dict(value.get_metadata())  # noqa: SLF001
    except Exception:  # noqa: BLE001 - a class of the host program's own may raise anything
        return None
    else:
        return user


def _fit_to_show(text: str, token: str) -> bool:
    """Whether an exception's text is short and plain, and holds nothing of the token."""
    if not text or len(text) > _SHOWN or not text.isprintable() or text in token or token in text:
        return False
    return not any(text[at : at + _SHARED] in token for at in range(len(text) - _SHARED + 1))
