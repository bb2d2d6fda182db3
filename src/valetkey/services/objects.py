"""The server's own services for RPC: a peer that answers for the table, and from which startup functions call."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from valetkey.errors import Denied, InvalidArguments, NotFound, RateLimited, ValetkeyError
from valetkey.identity.handlers import is_async
from valetkey.model.services import BUILT_IN, Member, Registered
from valetkey.services import frames, library, reading
from valetkey.services.answering import called_from_threads, failed, stepped, written
from valetkey.services.built_in import built_in
from valetkey.services.failures import told
from valetkey.services.frames import Message
from valetkey.services.guard import TEXT_KEYS
from valetkey.services.references import described, reference
from valetkey.services.relay import NOBODY, Relay, Stamp
from valetkey.services.root import root_user
from valetkey.services.sessions import Sessions
from valetkey.services.table import Service, ServiceTable, run
from valetkey.services.values import Reader

if TYPE_CHECKING:
    from hypha_rpc.rpc import RPC

    from valetkey.ports.world import Clock, Entropy
    from valetkey.services.sight import Who

MOST_CALLS = 100
"""Calls of one caller that the server's own services answer at once."""

_LEAST_INTERVAL = 0.5  # seconds between two heartbeats
_SETTLING = frozenset({"heartbeat", "resolve", "reject"})

_log = logging.getLogger("valetkey.services")


class Objects:
    """The peer ``<workspace>/<table.client>`` in each workspace. For use on the home loop.

    Who calls is what the stamp says; what may be called is what the table offers, and what a call handed out to that
    very peer. A method's name is never followed through attributes.

    Args:
        relay: what is said goes through it.
        base_url: the server's public address.
    """

    def __init__(
        self, *, table: ServiceTable, relay: Relay, clock: Clock, entropy: Entropy, base_url: Callable[[], str]
    ) -> None:
        library.load()
        self._table = table
        self._relay = relay
        self._entropy = entropy
        self._clock = clock
        self._base_url = base_url
        self._root = root_user().model_dump(mode="json")
        self._sessions: dict[str, Sessions] = {}  # by workspace
        self._running: dict[str, set[asyncio.Task[None]]] = {}  # by caller
        relay.put(f"*/{table.client}", self)
        self._unwatch = relay.directory.watch(self)

    def deliver(self, message: Message, stamp: Stamp) -> None:
        """See `Peer`: a call of a service, or what belongs to a call of ours."""
        if message.method.startswith("services."):
            self._start(message, lambda: self._serve(message, stamp.who))
            return
        sessions = self._sessions.get(message.to.partition("/")[0])
        found = None if sessions is None else sessions.find(message)
        if sessions is None or found is None:
            self._refuse(message, NotFound("There is no such function, or not any more."))
        elif message.method.rpartition(".")[2] in _SETTLING and found.settles:
            self._settle(message, sessions, found.function)
        else:
            self._start(message, lambda: self._call_back(message, found.function))

    # What a startup function calls with

    def rpc(self, workspace: str) -> RPC:
        """The RPC object that calls from a workspace."""
        return self._in(workspace).rpc

    def service(self, given: Mapping[str, Any], *, workspace: str) -> Any:
        """A service of a client as an object with functions, made of what `Manager.get_service` gives.

        Args:
            given: its facts and references.
            workspace: to call from.
        """
        return self._reader(workspace, str(given["id"]).partition(":")[0]).read(dict(given))

    # What is called here

    async def _serve(self, message: Message, who: Who | None) -> Any:
        workspace = message.to.partition("/")[0]
        if who is None:
            raise Denied("This service answers callers of its own instance of the server. Ask for it by its id.")
        parts = message.method.split(".")[1:]
        if parts[0] == BUILT_IN:
            return await self._built_in(message, parts[1:], who)
        service, path = await self._find(workspace, parts, who)
        args, kwargs = self._arguments(message, threaded=not _on_loop(service.find(path)))
        return await self._table.call(service, path, kwargs, who, positional=args)

    async def _find(self, workspace: str, parts: Sequence[str], who: Who) -> tuple[Service, Sequence[str]]:
        """A service whose id may have dots, and what follows its id."""
        for end in range(1, len(parts)):
            name = ".".join(parts[:end])
            if self._table.has(workspace, name):
                return await self._table.get(f"{workspace}/{name}", who, workspace=workspace), parts[end:]
        raise NotFound(f"Service not found: {parts[0]}")

    async def _built_in(self, message: Message, path: Sequence[str], who: Who) -> Any:
        args, _ = message.arguments()
        if list(path) == ["ping"]:
            return "pong"
        if list(path) != ["get_service"] or len(args) != 1 or not isinstance(args[0], str):
            raise NotFound(f"Function not found: {'.'.join(path)} of the service {BUILT_IN}")
        if args[0] == BUILT_IN:
            own = {name: reference(message.to, f"services.{BUILT_IN}.{name}", name=name) for name in _BUILT_IN}
            return {**built_in(message.to), **own}
        workspace = message.to.partition("/")[0]
        return described(await self._table.get(f"{workspace}/{args[0]}", who, workspace=workspace))

    async def _call_back(self, message: Message, function: Callable[..., Any]) -> Any:
        """Call what was handed out to this peer: a function, or the next value of a generator."""
        args, kwargs = self._arguments(message, threaded=not _on_loop(function))
        try:
            return await run(lambda: function(*args, **kwargs), asynchronous=_on_loop(function))
        finally:
            self._in(message.to.partition("/")[0]).tidy(message)

    def _settle(self, message: Message, sessions: Sessions, settle: Callable[..., Any]) -> None:
        """A call of ours has its reply, or goes on."""
        name = message.method.rpartition(".")[2]
        try:
            args, _ = self._arguments(message, threaded=False)
        except ValetkeyError as error:
            settle, args = sessions.rejecting(message), [error]
        if name == "heartbeat":
            settle()
        elif name == "resolve":
            settle(args[0] if args else None)
        else:
            reason = args[0] if args else None
            settle(reason if isinstance(reason, Exception) else RuntimeError(str(reason)[:1000]))

    def _arguments(self, message: Message, *, threaded: bool) -> tuple[list[Any], dict[str, Any]]:
        """What a peer sent, as values; its functions can be called, and are its own.

        Raises:
            InvalidArguments: they cannot be read.
            Denied: a function among them is somebody else's.
        """
        args, kwargs = message.arguments()
        read = self._reader(message.to.partition("/")[0], message.sender, threaded=threaded).read
        return read(args), {name: read(each) for name, each in kwargs.items()}

    def _reader(self, workspace: str, sender: str, *, threaded: bool = False) -> Reader:
        change = functools.partial(called_from_threads, loop=asyncio.get_running_loop()) if threaded else None
        return Reader(self._in(workspace).rpc, sender=sender, change=change)

    # How it is answered

    def _start(self, message: Message, work: Callable[[], Awaitable[Any]]) -> None:
        running = self._running.setdefault(message.sender, set())
        if len(running) >= MOST_CALLS:
            self._refuse(message, RateLimited(f"{MOST_CALLS} calls of this client run already.", retry_after=1))
            return
        task = asyncio.ensure_future(self._answer(message, work))
        running.add(task)
        task.add_done_callback(lambda done: self._ended(message.sender, done))

    def _ended(self, caller: str, task: asyncio.Task[None]) -> None:
        running = self._running.get(caller)
        if running is not None:
            running.discard(task)
            if not running:
                del self._running[caller]

    async def _answer(self, message: Message, work: Callable[[], Awaitable[Any]]) -> None:
        beating = self._beat(message) if message.promised and message.interval is not None else None
        try:
            reply = self._resolution(message, await work())
        except ValetkeyError as error:
            reply = frames.rejection(told(error), call=message)
        except Exception as error:  # noqa: BLE001 - a host program's function may raise anything
            reply = frames.rejection(failed(error, message.method), call=message)
        finally:
            if beating is not None:
                beating.cancel()
        if message.promised:
            self._relay.send(reply, NOBODY)

    def _resolution(self, message: Message, value: Any) -> Message:
        if inspect.isgenerator(value):
            value = stepped(value)
        try:
            reply = frames.resolution(value, call=message)
        except (TypeError, ValueError, OverflowError):  # something that is more than msgpack
            sessions = self._in(message.to.partition("/")[0])
            reply = frames.resolution(written(value, sessions.hand_out(message.sender)), call=message)
        if not frames.has_text_keys(reply.args):
            raise InvalidArguments(TEXT_KEYS)
        return reply

    def _beat(self, message: Message) -> asyncio.Task[None]:
        """Let the caller know now and then that its call goes on."""
        beat = Message(method=f"{message.session}.heartbeat", to=message.sender, sender=message.to)

        async def beating() -> None:
            while True:
                await self._clock.sleep(max(message.interval or 0, _LEAST_INTERVAL))
                self._relay.send(beat, NOBODY)

        return asyncio.ensure_future(beating())

    def _refuse(self, message: Message, error: ValetkeyError) -> None:
        if message.promised:
            self._relay.send(frames.rejection(told(error), call=message), NOBODY)

    # What is said

    def _in(self, workspace: str) -> Sessions:
        sessions = self._sessions.get(workspace)
        if sessions is None:
            rpc = library.opened(
                library.Wire(lambda data: self._emit(workspace, data)),
                client=self._table.client,
                workspace=workspace,
                base_url=self._base_url(),
            )
            sessions = self._sessions[workspace] = Sessions(rpc, clock=self._clock, entropy=self._entropy)
        return sessions

    async def _emit(self, workspace: str, data: bytes) -> None:
        message = reading.read(data, sender=f"{workspace}/{self._table.client}", cap=len(data))
        if not message.text_keys:
            raise InvalidArguments(TEXT_KEYS)
        self._relay.send(message, Stamp(workspace=workspace, user=self._root))

    # Who comes and goes

    def joined(self, member: Member) -> None:
        """See `Watcher`: nothing is to be done."""

    def registered(self, service: Registered) -> None:
        """See `Watcher`: nothing is to be done."""

    def unregistered(self, service: Registered) -> None:
        """See `Watcher`: nothing is to be done."""

    def left(self, member: Member, services: tuple[Registered, ...]) -> None:
        """A client is gone: what it called ends, and what was handed out to it is forgotten."""
        for task in self._running.pop(member.peer, ()):
            task.cancel()
        for sessions in self._sessions.values():
            sessions.forget(member.peer)

    async def close(self) -> None:
        """End all calls."""
        self._unwatch()
        running = [task for tasks in self._running.values() for task in tasks]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for sessions in self._sessions.values():
            await library.closed(sessions.rpc)
        self._sessions.clear()


_BUILT_IN = ("ping", "get_service")


def _on_loop(function: object) -> bool:
    return callable(function) and (is_async(function) or inspect.isasyncgenfunction(function))
