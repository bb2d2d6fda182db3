"""Calls of clients' services for whoever has no socket of their own: HTTP, tools, the manager. No RPC object each."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import msgpack

from valetkey.errors import InvalidArguments, NotFound
from valetkey.model.caller import Caller
from valetkey.model.services import BUILT_IN, Registered
from valetkey.ports.world import Clock, Entropy
from valetkey.services import frames
from valetkey.services.built_in import built_in, is_asked
from valetkey.services.complaints import Complaints
from valetkey.services.failures import PeerGone, RemoteFailure, raised
from valetkey.services.frames import BadFrame, Message
from valetkey.services.offers import Function, Offer
from valetkey.services.relay import NOBODY, Relay, ServiceLoan, Stamp
from valetkey.services.remote_stream import RemoteStream
from valetkey.services.sight import Who

MOST_STAMPS = 2000
"""Callers whose stamps are remembered."""

_UNKNOWN = ("Method expired or not found", "Method not found", "Session not found")  # as clients' libraries say it


class Calls:
    """Makes calls and takes their replies. For use on the home loop; a relay `Peer` in every workspace.

    Args:
        address: ``*/http-<instance>``: it is that client in any workspace.
    """

    def __init__(self, *, relay: Relay, clock: Clock, entropy: Entropy, address: str) -> None:
        self._relay = relay
        self._clock = clock
        self._client = address.partition("/")[2]
        self._entropy = entropy
        self.complain = Complaints(clock)
        self._waiting: dict[str, tuple[str, asyncio.Future[Any]]] = {}  # by session: from whom a reply is taken
        self._offers: dict[str, Offer] = {}
        self._stamps: OrderedDict[tuple[int, str], tuple[Caller, Stamp]] = OrderedDict()
        relay.put(address, self)

    async def call(
        self,
        service: Registered,
        path: Sequence[str],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        who: Who,
        *,
        deadline: float,
        offered: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> Any:
        """Call a function of a client's service; what is no function is given as it is.

        Args:
            service: one that the caller may use: see `Manager.resolve`.
            path: the function's name, or nested names.
            args: arguments by place.
            kwargs: by name. ``context`` is dropped: the relay says who calls.
            who: the caller.
            deadline: seconds until it must have answered; of a stream: each of its values.
            offered: the functions that are offered for this very call, as `offering` gives them: its arguments may
                refer to no other.

        Returns:
            Plain values; a `RemoteStream` where it is a generator; other things that RPC knows as maps with ``_rtype``.

        Raises:
            NotFound: there is no such function.
            RemoteFailure: it raised.
            PeerGone: its client is not connected any more.
            InvalidArguments: the arguments cannot be sent.
            RateLimited: too many calls wait already.
            TimeoutError: it did not answer in time.
            AuthRequired, ApprovalRequired: it needs an account of the caller.
        """
        method = f"services.{service.id}.{'.'.join(path)}"
        if not _offered(service, path):
            found = await self._value(service, path, deadline)
            if not isinstance(found, dict) or found.get("_rtype") != "method":
                return found
            if found.get("_rmethod") != method:
                raise _unknown(service, path)
        named = {name: value for name, value in kwargs.items() if name != "context"}
        message = self._message(service.peer, method, [*args, named] if named else list(args), _sender(service, who))
        message.with_kwargs = bool(named)
        if not frames.references_in(message.args) <= _references(offered):
            raise InvalidArguments("The arguments refer to a function of somebody else's, who alone can hand it on.")
        loan = await self._lent(service, who)
        stamp = self.stamp(who) if loan is None else Stamp.of(who, loan.told)
        try:
            value = await self._ask(message, stamp, deadline)
        except RemoteFailure as error:
            _end(loan)
            if not error.kind and error.text.startswith(_UNKNOWN):
                raise _unknown(service, path) from None
            raise
        except BaseException:
            _end(loan)
            raise
        if isinstance(value, dict) and value.get("_rtype") == "generator":
            return self._stream(value, message, stamp, deadline, loan)
        _end(loan)
        return value

    async def call_raw(
        self, peer: str, method: str, args: Sequence[Any], *, as_manager: bool = True, deadline: float = 10
    ) -> Any:
        """Call any method of a client, such as ``services.built-in.get_service``.

        Args:
            peer: its address.
            method: whole, ``services.`` included.
            args: arguments by place.
            as_manager: in the client's own workspace, where its protected functions may be called; else as nobody.
            deadline: seconds until it must have answered.

        Raises:
            RemoteFailure, PeerGone, InvalidArguments, RateLimited, TimeoutError: as `call`.
        """
        workspace = peer.partition("/")[0] if as_manager else "public"
        message = self._message(peer, method, args, workspace)
        return await self._ask(message, Stamp(workspace=workspace), deadline)

    @contextmanager
    def offering(
        self, service: Registered, who: Who, functions: Mapping[str, Function]
    ) -> Iterator[dict[str, dict[str, Any]]]:
        """Functions that a service may call back while the block lasts, as references for its arguments."""
        sender, session = f"{_sender(service, who)}/{self._client}", self._session()
        offer = self._offers[session] = Offer(
            peer=service.peer, functions=functions, relay=self._relay, clock=self._clock
        )
        try:
            yield {
                name: {
                    "_rtype": "method",
                    "_rtarget": sender,
                    "_rmethod": f"{session}.{name}",
                    "_rpromise": "*",
                    "_rname": name,
                    "_rasync": True,
                    "_rdoc": None,
                }
                for name in functions
            }
        finally:
            del self._offers[session]
            offer.end()

    def deliver(self, message: Message, stamp: Stamp) -> None:
        """Take a reply, or a call of what is offered; of nobody but the peer that it was asked of."""
        session, _, name = message.method.rpartition(".")
        waits = self._waiting.get(session)
        if waits is None:
            offer = self._offers.get(session)
            if offer is None or not offer.take(message, name):
                self._answer(message)
            return
        peer, reply = waits
        if message.sender != peer or name not in ("resolve", "reject"):
            self._answer(message)
            return
        del self._waiting[session]
        if reply.done():
            return
        try:
            value = _value_of(message)
        except BadFrame as error:
            reply.set_exception(RemoteFailure("", str(error)))
            return
        if name == "resolve" and not _is_error(value):
            reply.set_result(value)
        elif stamp is NOBODY:  # the relay itself says so: nobody took it
            reply.set_exception(PeerGone(str(value.get("_rvalue")) if isinstance(value, dict) else "Peer is gone"))
        else:
            reply.set_exception(raised(value if isinstance(value, dict) else {"_rvalue": value}))

    def stamp(self, who: Who) -> Stamp:
        """What is said of a caller; written once for as long as they are remembered."""
        key = id(who.caller), who.workspace
        held = self._stamps.get(key)
        if held is not None and held[0] is who.caller:
            return held[1]
        made = Stamp(workspace=who.workspace, user=who.user)
        self._stamps[key] = who.caller, made
        if len(self._stamps) > MOST_STAMPS:
            self._stamps.popitem(last=False)
        return made

    async def _ask(self, message: Message, stamp: Stamp, deadline: float) -> Any:
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Any] = loop.create_future()
        self._waiting[message.session] = message.to, reply
        timer = loop.call_later(deadline, _late, reply, message)
        try:
            self._relay.send(message, stamp)
            return await reply
        finally:
            timer.cancel()
            if self._waiting.pop(message.session, None) is not None:
                self._relay.forget(message)

    def _message(self, peer: str, method: str, args: Sequence[Any], workspace: str) -> Message:
        try:
            packed = frames.packed(list(args)) if args else b""
        except (TypeError, ValueError, OverflowError):
            raise InvalidArguments(
                "The arguments cannot be sent: numbers of at most 64 bits, texts, bytes, lists and maps can."
            ) from None
        return Message(
            method=method,
            to=peer,
            sender=f"{workspace}/{self._client}",
            session=self._session(),
            args=packed,
            promised=True,
            star=False,  # and without heartbeats: the relay tells when its peer is gone
        )

    def _session(self) -> str:
        """A name that nobody guesses: functions of another caller's request hang on it."""
        return self._entropy.token(16)

    def _answer(self, message: Message) -> None:
        """Say how long messages are brought here, as a client asks before its long reply; there is nothing else."""
        if not message.promised:
            return
        if is_asked(message):
            reply = frames.resolution(built_in(message.to), call=message)
        else:
            reply = frames.rejection("KeyError: There is no such function, or not any more.", call=message)
        self._relay.send(reply, NOBODY)

    async def _lent(self, service: Registered, who: Who) -> ServiceLoan | None:
        if service.needs.public or self._relay.lend is None:
            return None
        return await self._relay.lend(service, who)

    def _stream(
        self, value: Mapping[str, Any], call: Message, stamp: Stamp, deadline: float, loan: ServiceLoan | None
    ) -> RemoteStream:
        workspace = call.sender.partition("/")[0]
        methods = [value.get("_rmethod"), value.get("_rclose_method")]
        targets = {call.to, call.to.partition("/")[2]}
        if value.get("_rtarget") not in targets or not all(
            isinstance(method, str) and method.partition(".")[0] not in ("", "services") for method in methods
        ):
            _end(loan)
            raise RemoteFailure("", "the service gave a generator that is not its own")

        async def following() -> Any:
            return await self._ask(self._message(call.to, str(methods[0]), (), workspace), stamp, deadline)

        def close() -> None:
            closing = self._message(call.to, str(methods[1]), (), workspace)
            closing.promised = False
            closing.session = ""
            self._relay.send(closing, stamp)

        return RemoteStream(following, close=close, ended=lambda: _end(loan))

    async def _value(self, service: Registered, path: Sequence[str], deadline: float) -> Any:
        """What a service has under a name that its schema does not call a function."""
        if any(name.startswith("_") for name in path) or (service.schema and not _known(service, path)):
            raise _unknown(service, path)
        found = await self.call_raw(
            service.peer, f"services.{BUILT_IN}.get_service", [service.id], deadline=min(deadline, 10)
        )
        for name in path:
            if not isinstance(found, dict) or name not in found:
                raise _unknown(service, path)
            found = found[name]
        return found


def _sender(service: Registered, who: Who) -> str:
    """The workspace that a call comes from.

    A client lets its protected functions be called from its own workspace alone, or from those that it named. Whether
    this caller may was decided before.
    """
    if service.visibility != "protected" or who.workspace in service.authorized_workspaces:
        return who.workspace
    return service.workspace


def _references(offered: Mapping[str, Mapping[str, Any]]) -> set[tuple[str, str]]:
    return {(each["_rtarget"], each["_rmethod"]) for each in offered.values()}


def _at(service: Registered, path: Sequence[str]) -> Any:
    found: Any = service.schema
    for name in path:
        if not isinstance(found, Mapping) or name not in found or found.get("type") == "function":
            return None
        found = found[name]
    return found


def _known(service: Registered, path: Sequence[str]) -> bool:
    return _at(service, path) is not None


def _offered(service: Registered, path: Sequence[str]) -> bool:
    found = _at(service, path)
    return isinstance(found, Mapping) and found.get("type") == "function"


def _unknown(service: Registered, path: Sequence[str]) -> NotFound:
    return NotFound(f"Function not found: {'.'.join(path)} of the service {service.id}")


def _is_error(value: Any) -> bool:
    return isinstance(value, dict) and value.get("_rtype") == "error"


def _value_of(message: Message) -> Any:
    if not message.args:
        return None
    try:
        args = msgpack.unpackb(message.args, strict_map_key=False)
    except Exception:  # noqa: BLE001 - of whatever kind
        raise BadFrame("the answer cannot be read as msgpack") from None
    return args[0] if args else None


def _late(reply: asyncio.Future[Any], message: Message) -> None:
    if not reply.done():
        reply.set_exception(TimeoutError(f"Method call timed out: {message.to}:{message.method}"))


def _end(loan: ServiceLoan | None) -> None:
    if loan is not None:
        loan.end()
