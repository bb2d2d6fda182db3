"""``/ws``: RPC over one WebSocket for each client (contract part 2). Nothing on the wire says who is calling."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Collection
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send

from valetkey.entrypoints.rpc.bucket import Bucket
from valetkey.entrypoints.rpc.handshake import Admitted, Handshake, read_first
from valetkey.entrypoints.rpc.outbox import Outbox
from valetkey.entrypoints.web.api import NOT_THIS_NAME
from valetkey.entrypoints.web.hosts import host_name, own_hosts
from valetkey.entrypoints.web.presented import client_address
from valetkey.errors import CouldNotTell, InvalidArguments, RateLimited, StoreUnavailable, ValetkeyError
from valetkey.model.services import Member
from valetkey.secret import Secret
from valetkey.services.frames import rejection
from valetkey.services.live import LATER, REPLACED
from valetkey.services.peers import NOBODY, CutOff, Link, Stamp

if TYPE_CHECKING:
    from valetkey.wiring.identity import Identity
    from valetkey.wiring.services import Services

FIRST = 5.0
"""Seconds that a client has to say who it is."""

_VERSION = version("valetkey")
_NORMAL, _POLICY, _GOING, _FAULT = 1000, 1008, 1001, 1011  # RFC 6455 §7.4.1
_LAST_WORDS = 2.0  # seconds for the close frame, where the client reads nothing
_REASON = 120  # bytes of a close frame's reason (RFC 6455 §5.5)
_AGENT = 256
_TRANSIENT = (CouldNotTell, StoreUnavailable, RateLimited)
IN_ADDRESS = "Connection rejected: send client_id, workspace and token in the first message, not in the address."

_log = logging.getLogger("valetkey.services")


def rpc_socket_route(
    identity: Identity,
    services: Services,
    *,
    base_url: str,
    trusted_proxies: Collection[str] = (),
    hosts: Collection[str] = (),
    origins: Collection[str] = (),
) -> WebSocketRoute:
    """The door of RPC clients.

    Args:
        identity: the rooms of the server.
        services: those of RPC.
        base_url: the public address with the prefix of our paths.
        trusted_proxies: whose ``X-Forwarded-For`` is believed.
        hosts: further names under which we are asked.
        origins: whose pages may open a socket, besides ours; ``*``: those of any. Cookies count for nobody here.
    """
    door = _Door(
        identity,
        services,
        base_url=base_url,
        trusted_proxies=trusted_proxies,
        hosts=own_hosts(base_url, hosts),
        origins=frozenset(origins),
    )
    return WebSocketRoute("/ws", door)


class _Refused(Exception):
    """The handshake is answered with this status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class _Door:
    """Lets clients in (ASGI 3)."""

    def __init__(
        self,
        identity: Identity,
        services: Services,
        *,
        base_url: str,
        trusted_proxies: Collection[str],
        hosts: frozenset[str],
        origins: frozenset[str],
    ) -> None:
        self._identity = identity
        self._services = services
        self._base_url = base_url
        self._trusted = trusted_proxies
        self._hosts = hosts
        self._origins = origins
        self._handshake = Handshake(identity, services)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket, from the handshake to its end."""
        await receive()
        try:
            self._check(scope)
        except _Refused as refusal:
            await _deny(scope, receive, send, refusal)
            return
        try:
            await send({"type": "websocket.accept"})
            await self._serve(scope, receive, send)
        except OSError:  # the client is gone
            pass
        except Exception as error:  # noqa: BLE001 - the last one who can close it in order
            _log.error("a socket of an RPC client failed: %s", type(error).__name__)
            await send({"type": "websocket.close", "code": _FAULT, "reason": ""})

    def _check(self, scope: Scope) -> None:
        """DNS rebinding (W-15), and pages of others (W-01)."""
        headers = Headers(scope=scope)
        named = headers.getlist("host")
        host = host_name(named[0]) if len(named) == 1 else None
        if host is None:
            raise _Refused(400, "The request has to name one host.")
        if host not in self._hosts:
            raise _Refused(421, NOT_THIS_NAME)
        given = [origin.lower() for origin in headers.getlist("origin")]
        if given and "*" not in self._origins:
            scheme = "https" if scope.get("scheme") == "wss" else "http"
            own = {f"{scheme}://{named[0].lower()}", *(origin.lower() for origin in self._origins)}
            own.add("/".join(self._base_url.lower().split("/")[:3]))
            if len(given) > 1 or given[0] not in own:
                raise _Refused(403, "Pages of that origin may not connect here.")
        if self._services.live.closing:
            raise _Refused(503, "The server ends. Come back in a moment.")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the first frame, and let the client in or say why not."""
        if scope.get("query_string"):
            await _error(send, IN_ADDRESS)
            return
        address = client_address(scope, self._trusted)
        agent = Headers(scope=scope).get("user-agent", "")[:_AGENT]
        try:
            text = await self._first(receive)
            if text is None:
                await _close(send, _POLICY, "No authentication information came in time.")
                return
            asked = read_first(text)
            admitted = await self._handshake.admit(asked, address=address, agent=agent)
            session = await self._seat(admitted, receive, send)
        except _TRANSIENT:  # a client that is told of an error gives up for good
            await _close(send, LATER, "Try again later.")
            return
        except ValetkeyError as error:
            _log.info("an RPC client was refused: %s", error.code)
            await _error(send, str(error))
            return
        await session.run()

    async def _first(self, receive: Receive) -> str | None:
        """The first frame; None: it did not come."""
        reading = asyncio.ensure_future(receive())
        waiting = asyncio.ensure_future(self._identity.system.clock.sleep(FIRST))
        try:
            await asyncio.wait({reading, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                return None
            message = reading.result()
        finally:
            await _cancelled(reading, waiting)
        if message["type"] == "websocket.disconnect":
            raise OSError
        text = message.get("text")
        if text is None:
            raise InvalidArguments("Failed to decode authentication information")
        return str(text)

    async def _seat(self, admitted: Admitted, receive: Receive, send: Send) -> _Session:
        """Its place among the others; from now on messages find it."""
        services, who = self._services, admitted.who
        issued = await services.reconnections.issue(who.caller, who.workspace, admitted.client)
        counts, returns = admitted.counts, admitted.returns
        self._handshake.check(who.caller, who.workspace, admitted.client, counts, returns=returns)
        session = _Session(
            self._identity,
            services,
            admitted,
            receive,
            send,
            reconnection=None if issued is None else issued[0].reveal(),
        )
        services.live.kick(who.peer, code=REPLACED, reason="This client came back on another connection.")
        session.enter(self._base_url)
        return session


class _Session:
    """One client that is in."""

    def __init__(
        self,
        identity: Identity,
        services: Services,
        admitted: Admitted,
        receive: Receive,
        send: Send,
        *,
        reconnection: str | None,
    ) -> None:
        clock, limits = identity.system.clock, services.limits
        who = admitted.who
        self._clock = clock
        self._services = services
        self._admitted = admitted
        self._receive = receive
        self._send = send
        self._reconnection = reconnection
        self._ended: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self._heard = clock.monotonic()
        self._outbox = Outbox(
            send,
            clock=clock,
            entropy=identity.system.entropy,
            most=limits.max_queue,
            whole=limits.max_message_whole,
            ended=self.end,
            pressed=services.live.press,
            owner=who.caller.principal,
            refused=lambda call, text: services.relay.send(rejection(text, call=call), NOBODY),
        )
        self._bucket = Bucket(limits.message_rate, clock)
        self.link = Link(
            peer=self._outbox,
            who=who,
            stamp=Stamp(workspace=who.workspace, user=admitted.user, who=who),
            member=Member(
                workspace=who.workspace,
                client=admitted.client,
                instance=services.instance,
                principal=who.caller.principal,
                user=admitted.user,
                since=clock.now(),
            ),
        )

    def enter(self, base_url: str) -> None:
        """Take the place; the client is told so before anything else."""
        services, who = self._services, self._admitted.who
        info = {
            "type": "connection_info",
            "hypha_version": _VERSION,
            "public_base_url": base_url,
            "local_base_url": base_url,
            "manager_id": services.manager_id,
            "workspace": who.workspace,
            "client_id": self._admitted.client,
            "user": self._admitted.user,
            "reconnection_token": self._reconnection,
            "reconnection_token_life_time": services.reconnections.life_of(who.caller),
        }
        self._outbox.say(json.dumps(info))
        services.live.add(self, self._admitted.counts)
        services.relay.attach(self.link)

    async def run(self) -> None:
        """Pass messages until one side ends it."""
        reading = asyncio.ensure_future(self._read())
        writing = asyncio.ensure_future(self._outbox.write())
        try:
            ends: set[asyncio.Future[Any]] = {reading, writing, self._ended}
            await self._services.live.may_stay(self)  # its workspace may have changed while it came in
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._services.live.remove(self)
            self._services.relay.detach(self.link)
            self._outbox.end()
            stood = self._outbox.stands
            await _cancelled(reading, writing)
        if self._ended.done() and not stood:
            code, reason = self._ended.result()
            await _close(self._send, code, reason)

    def look(self, now: float) -> None:
        """See `Socket`."""
        self._outbox.look(now)
        limit = self._services.limits.idle_timeout
        if now - self._heard >= limit:
            self.end(_GOING, f"Idle timeout ({limit:g}s)")

    def end(self, code: int, reason: str) -> None:
        """See `Socket`."""
        self._outbox.end()
        if not self._ended.done():
            self._ended.set_result((code, reason))

    async def _read(self) -> None:
        try:
            while True:
                message = await self._receive()
                if message["type"] == "websocket.disconnect":
                    await self._left(message.get("code"))
                    return
                self._heard = self._clock.monotonic()
                await self._bucket.take()
                data = message.get("bytes")
                if data is None:
                    await self._text(message.get("text") or "")
                else:
                    await self._services.relay.receive(self.link, data)
                    await self._services.live.relieved(self.link.member.peer)
        except CutOff as error:
            self.end(_POLICY, str(error))
        except Exception as error:  # noqa: BLE001 - of whatever kind: this socket ends, and no other one
            _log.error("a message of %s could not be passed on: %s", self.link.member.peer, type(error).__name__)
            self.end(_FAULT, "")

    async def _left(self, code: object) -> None:
        """The client is gone; one that says so in order does not come back with its token."""
        if code == _NORMAL and self._reconnection is not None:
            with suppress(StoreUnavailable):
                await self._services.reconnections.left(self._admitted.who.caller, Secret(self._reconnection))

    async def _text(self, text: str) -> None:
        """A keepalive, or a question for a new reconnection token."""
        try:
            given = json.loads(text)
        except (ValueError, RecursionError):
            given = None
        kind = given.get("type") if isinstance(given, dict) else None
        if kind == "ping":
            self._outbox.say('{"type": "pong"}')
        elif kind == "refresh_token":
            await self._refresh()
        else:
            _log.info("%s sent a text that is none of ours", self.link.member.peer)
            self.link.count_bad(self._heard)

    async def _refresh(self) -> None:
        who = self._admitted.who
        try:
            issued = await self._services.reconnections.issue(who.caller, who.workspace, self._admitted.client)
        except ValetkeyError as error:
            _log.info("%s got no new reconnection token: %s", self.link.member.peer, error.code)
            return
        if issued is not None:
            self._reconnection = issued[0].reveal()
            self._outbox.say(json.dumps({"type": "reconnection_token", "reconnection_token": self._reconnection}))


async def _cancelled(*tasks: asyncio.Future[Any]) -> None:
    """Cancel them, and have them ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _error(send: Send, text: str) -> None:
    """Say why a client may not come in; it gives up then."""
    await send({"type": "websocket.send", "text": json.dumps({"type": "error", "message": text})})
    await _close(send, _POLICY, text)


async def _close(send: Send, code: int, reason: str) -> None:
    cut = reason.encode()[:_REASON].decode(errors="ignore")
    try:
        async with asyncio.timeout(_LAST_WORDS):
            await send({"type": "websocket.close", "code": code, "reason": cut})
    except (OSError, TimeoutError, RuntimeError):
        _log.debug("a socket was gone before it was closed")


async def _deny(scope: Scope, receive: Receive, send: Send, refusal: _Refused) -> None:
    """The handshake's answer; where the server cannot send one, it is a bare 403."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": _POLICY, "reason": ""})
        return
    answer = JSONResponse({"success": False, "detail": str(refusal)}, status_code=refusal.status)
    await answer(scope, receive, send)
