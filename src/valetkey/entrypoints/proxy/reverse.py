"""ANY /via/{provider}/{path}: a request to a provider, with the caller's own account on it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from valetkey.entrypoints.proxy.asked import Asked, Body, TooLarge, TooSlow, asked_of
from valetkey.entrypoints.web import api, page
from valetkey.entrypoints.web.presented import MALFORMED, TWICE, client_address, token_of
from valetkey.errors import Denied, ExchangeFailed, ProviderUnavailable, Unauthenticated, ValetkeyError
from valetkey.identity.powers import ROOT
from valetkey.model.caller import Caller
from valetkey.model.calls import BEARER, TICKET, Call, Presented, ToolResult
from valetkey.model.lendings import Account, lending_of
from valetkey.model.needs import PUBLIC
from valetkey.model.tokens import TokenKind
from valetkey.protocol.apikey import Prefix, claims_to_be
from valetkey.secret import Secret
from valetkey.tools.proxy import UNAUTHORIZED, ProxyAnswer, ProxyRequest, ProxyTool
from valetkey.tools.proxy_rules import sent_headers
from valetkey.wiring.via import proxy_road, streamer_of

if TYPE_CHECKING:
    from valetkey.ports.world import Clock
    from valetkey.wiring.identity import Identity

DEADLINE = 300.0
"""Seconds until the head of an answer is there, with all that is sent before."""

LOOKED_AT = 1.0
"""Seconds of an exchange after which it is asked again whether its ticket still holds."""

FROM = "x-valetkey-from"
"""Says of an answer whose it is: the provider's. What we say ourselves does not have it."""

_OURS = frozenset({TokenKind.ACCESS.value, TokenKind.API_KEY.value, ROOT})
_SAFE = {
    **page.HEADERS,
    # Whatever the provider sends, as a page on our own origin it can do nothing.
    "content-security-policy": "sandbox; default-src 'none'; form-action 'none'; frame-ancestors 'none'",
}
_TOO_LARGE = 413
_TOO_SLOW = 408
_GONE = 499

_log = logging.getLogger("valetkey.proxy")


def via_routes(identity: Identity, *, trusted_proxies: Collection[str] = ()) -> list[BaseRoute]:
    """The routes, to be mounted at the public address; they see to credentials, bodies and headers themselves.

    Args:
        identity: the rooms of the server.
        trusted_proxies: whose ``X-Forwarded-For`` is believed.
    """
    endpoint = Reverse(identity, trusted_proxies=trusted_proxies)
    return [Route("/via/{provider}", endpoint), Route("/via/{provider}/{path:path}", endpoint)]


def is_via(scope: Scope) -> bool:
    """Whether a request is for one of them."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")).startswith("/via/")


class Reverse:
    """Answers what comes there; for use on the home loop."""

    def __init__(self, identity: Identity, *, trusted_proxies: Collection[str] = ()) -> None:
        self._identity = identity
        self._road = proxy_road(identity)
        self._streamer = streamer_of(identity.system)
        self._trusted = trusted_proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            response = Response(status_code=_GONE)
        except TooLarge:
            response = api.from_status(_TOO_LARGE, request)
        except TooSlow:
            response = api.from_status(_TOO_SLOW, request, {"connection": "close"})
        except ValetkeyError as error:
            response = refused(error, request)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        presented = self._presented(request)
        asked = asked_of(request.scope)
        caller = await self._road.chain.identify(presented)
        name, lent = self._named(caller, asked)
        taken = Body(request)
        body, length = await taken.take()
        if body:  # it may have taken its time
            await self._still(presented, caller)
        wanted = ProxyRequest(
            method=request.method,
            host=asked.host,
            path=asked.path,
            query=asked.query,
            headers=sent_headers(request.headers.items()),
            body=body,
            length=length,
        )
        tool = ProxyTool(
            name=name,
            provider=asked.provider,
            request=wanted,
            streamer=self._streamer,
            finder=self._identity.system.handling,
            deadline=DEADLINE,
            account="" if lent is None else lent.account,
            scopes=() if lent is None else lent.scopes,
        )
        call = Call(
            tool=name,
            needs=PUBLIC,
            arguments=self._shown(wanted),
            profile=None if lent is None else lent.profile or None,
            entrance="proxy",
            deadline=DEADLINE,
        )
        result = await self._watched(self._road.go(caller, tool, call), taken, presented, caller)
        if isinstance(result.value, ProxyAnswer):
            still = partial(self._still, presented, caller)
            return _Relayed(result.value, still, self._identity.system.clock, provider=asked.provider)
        if taken.broken is not None:
            raise taken.broken
        if tool.error is not None:
            raise tool.error
        if tool.refusal is not None:
            headers = {**dict(tool.refusal.headers), **_SAFE, FROM: asked.provider}
            return Response(tool.refusal.body, status_code=UNAUTHORIZED, headers=headers)
        raise ExchangeFailed(f"There was no answer of {asked.provider} in time.", sent=True, late=True)

    async def _watched(
        self, work: Coroutine[Any, Any, ToolResult], body: Body, presented: Presented, caller: Caller
    ) -> ToolResult:
        """The way up to the answer's head, for as long as the ticket, or the token, is good, and somebody waits.

        Raises:
            Unauthenticated: it is good no more. What was under way is given up.
            ClientDisconnect: nobody waits.
        """
        loop = asyncio.get_running_loop()
        going, left = loop.create_task(work), loop.create_task(body.left())
        try:
            while not going.done():
                await asyncio.wait({going, left}, timeout=LOOKED_AT, return_when=asyncio.FIRST_COMPLETED)
                if going.done():
                    break
                await (left if left.done() else self._still(presented, caller))
            return await going
        except BaseException:
            going.cancel()
            given = await asyncio.gather(going, return_exceptions=True)
            for each in given:  # it ended in that moment
                if isinstance(each, ToolResult) and isinstance(each.value, ProxyAnswer):
                    await each.value.aclose()
            raise
        finally:
            left.cancel()

    async def _still(self, presented: Presented, caller: Caller) -> None:
        """Whether they may go on: a ticket that ended with its call is known by its row alone.

        Raises:
            Unauthenticated: they may not.
            CouldNotTell: it cannot be told now.
        """
        chain = self._road.chain
        await chain.still(caller)
        if caller.how == TICKET:
            await chain.identify(presented)

    def _presented(self, request: Request) -> Presented:
        """The token or ticket; a browser's cookie is none, whoever's page sent it.

        Raises:
            Unauthenticated: there is none, or more than one.
        """
        given = request.headers.getlist("authorization")
        if len(given) > 1:
            raise Unauthenticated(TWICE)
        if not given:
            raise Unauthenticated("Send the ticket, or a token of this server, as: Authorization: Bearer <ticket>")
        text = token_of(given[0])
        prefix = claims_to_be(text)
        if prefix not in (None, Prefix.TICKET, Prefix.KEY):
            raise Unauthenticated(MALFORMED)
        scheme = TICKET if prefix is Prefix.TICKET else BEARER
        return Presented(scheme=scheme, value=Secret(text), address=client_address(request.scope, self._trusted))

    def _named(self, caller: Caller, asked: Asked) -> tuple[str, Account | None]:
        """For whom the request is decided on: the service that was lent the ticket, or the way itself; which account.

        Raises:
            Denied: the ticket is for another provider, or the token is none of ours.
        """
        if caller.how != TICKET:
            if caller.how not in _OURS:
                raise Denied("Only a ticket, or a token that this server issued, is taken here.")
            return f"via/{asked.provider}", None
        lent = lending_of(caller.user)
        accounts = () if lent is None else lent.accounts
        account = next((each for each in accounts if each.provider == asked.provider), None)
        if lent is None or account is None:
            raise Denied(f"This ticket is not for {asked.provider}.")
        return lent.service, account

    def _shown(self, wanted: ProxyRequest) -> dict[str, object]:
        """What a person is shown where a rule asks one; a body that is sent as it comes is never the same again."""
        content = wanted.body
        digest = (
            hashlib.sha256(content).hexdigest()
            if isinstance(content, bytes)
            else f"streamed {self._identity.system.entropy.token(9)}"
        )
        return {
            "method": wanted.method,
            "host": wanted.host,
            "path": wanted.path,
            "query": wanted.query,
            "body_sha256": digest if content else "",
        }


class _Relayed(StreamingResponse):
    """The provider's answer, cleaned. One that is cut ends without an end: whoever reads it knows."""

    def __init__(
        self, answer: ProxyAnswer, still: Callable[[], Awaitable[None]], clock: Clock, *, provider: str
    ) -> None:
        self._answer = answer
        self._still = still
        self._ticks = clock.monotonic
        self._pieces = self._watched()
        headers = {**dict(answer.headers), **_SAFE, FROM: provider}
        super().__init__(self._pieces, status_code=answer.status, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except ValetkeyError as error:
            _log.warning("an answer was cut: %s", error.code)
        except (ClientDisconnect, OSError):
            _log.debug("whoever asked has gone")
        finally:
            await self._pieces.aclose()
            await self._answer.aclose()

    async def _watched(self) -> AsyncGenerator[bytes, None]:
        """The body, for as long as the ticket, or the token, is good."""
        ticks = self._ticks
        looked = ticks()
        async for piece in self._answer.pieces():
            if ticks() - looked >= LOOKED_AT:
                await self._still()
                looked = ticks()
            yield piece


def refused(error: ValetkeyError, request: Request) -> Response:
    """An error of ours as JSON; the link of a question beside it."""
    response = api.from_error(error, request)
    later = getattr(error, "retry_after", None) if isinstance(error, ProviderUnavailable) else None
    if later is not None:
        response.headers["retry-after"] = str(max(1, round(later)))
    url = getattr(error, "url", "")
    if not url:
        return response
    body = {"success": False, "detail": error.message, "code": error.code, "url": url}
    return JSONResponse(body, status_code=response.status_code, headers=dict(page.HEADERS))
