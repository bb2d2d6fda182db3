"""An OAuth server: PKCE, consent, rotation, revocation, dialects."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from urllib.parse import parse_qsl, urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from valetkey.errors import InvalidArguments
from valetkey.testing.oauth.addresses import Addresses
from valetkey.testing.oauth.authorize import Asked, Authorize, SentBack, Unanswerable
from valetkey.testing.oauth.dialects import GITHUB, GOOGLE, NOTION, REDDIT, RFC, SLACK, Dialect
from valetkey.testing.oauth.endpoints import PATHS, Endpoints
from valetkey.testing.oauth.faults import Fault, Faults, Gate
from valetkey.testing.oauth.ledger import Ledger, Token
from valetkey.testing.oauth.options import (
    Client,
    Dice,
    Now,
    Options,
    RealDice,
    Reuse,
    Revocation,
    WallClock,
    register,
)
from valetkey.testing.oauth.received import Received, receive

__all__ = [
    "GITHUB",
    "GOOGLE",
    "NOTION",
    "REDDIT",
    "RFC",
    "SLACK",
    "Client",
    "Dialect",
    "OAuthServer",
    "Received",
]


class OAuthServer(Addresses):
    """An authorization server and a small resource server, for tests and demonstrations.

    ``with OAuthServer() as server:`` (or ``async with``) serves it on loopback, on a thread of its own;
    ``server.app`` is the bare ASGI app. Everything here may be called from any thread and loop.

    Args:
        clients: ``{id: secret}`` (a public one has None), or ``Client`` values; by default there is one,
            ``server.client``.
        require_pkce: refuse authorization requests without an S256 challenge (RFC 7636).
        rotation: give a new refresh token with each refresh, where the dialect may.
        reuse: what a refresh token used twice does: ``revoke_family`` (RFC 9700 §4.14.2), or only ``refuse``.
        reuse_grace: seconds after its first use in which a refresh token may be used again.
        revocation: what the revocation of a refresh token ends: its whole ``family``, or that ``token`` only.
        access_lifetime: seconds that an access token is good for.
        refresh_lifetime: the same for a refresh token; None is for ever.
        code_lifetime: the same for an authorization code.
        scopes: the scopes that exist, with what the consent page says of them; None takes any.
        users: accounts to sign in with, ``{subject: name}``.
        title: what the pages call the server.
        mail_scope: the scope that ``/api/mail`` needs; None needs a token only.
        auto_approve: answer authorization requests without a page, as the first account.
        iss: name the issuer in callbacks (RFC 9207).
        keys: public keys, PEM or JWK, by the client or the service account that signs with them (RFC 7523).
        subject_of: whose a token is that is to be exchanged for one of this server (RFC 8693); None: it is no good.
        issuer: the issuer identifier; by default the origin that is listened on.
        dialect: how the server departs from RFC 6749.
        clock: tells the time, by ``now()``; the Clock port will do.
        entropy: draws codes and tokens, by ``token(size)``; the Entropy port will do.
        routes: further routes of the app; ``bearer`` judges the tokens that they get.
        host: a loopback address.
        port: TCP port; 0 takes a free one.

    Raises:
        InvalidSetting: the host is not loopback, or there is no client.
    """

    def __init__(
        self,
        clients: Mapping[str, str | None] | Iterable[Client] | None = None,
        *,
        require_pkce: bool = True,
        rotation: bool = True,
        reuse: Reuse = "revoke_family",
        reuse_grace: float = 0.0,
        revocation: Revocation = "family",
        access_lifetime: float = 3600.0,
        refresh_lifetime: float | None = None,
        code_lifetime: float = 60.0,
        scopes: Mapping[str, str] | None = None,
        users: Mapping[str, str] | None = None,
        title: str = "Example Mail",
        mail_scope: str | None = None,
        auto_approve: bool = False,
        iss: bool = True,
        keys: Mapping[str, str] | None = None,
        subject_of: Callable[[str], str | None] | None = None,
        issuer: str | None = None,
        dialect: Dialect = RFC,
        clock: Now | None = None,
        entropy: Dice | None = None,
        routes: Sequence[BaseRoute] = (),
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        dice = entropy or RealDice()
        self._options = Options(
            clients=register(clients, dice),
            users=dict(users) if users else {"test-user": "Test account"},
            title=title,
            scopes=scopes,
            mail_scope=mail_scope,
            dialect=dialect,
            require_pkce=require_pkce,
            iss=iss,
            auto_approve=auto_approve,
            rotation=rotation,
            reuse=reuse,
            reuse_grace=reuse_grace,
            revocation=revocation,
            access_lifetime=access_lifetime,
            refresh_lifetime=refresh_lifetime,
            code_lifetime=code_lifetime,
            keys=dict(keys or {}),
            subject_of=subject_of,
            clock=clock or WallClock(),
            dice=dice,
        )
        self._lock = threading.Condition()
        self._requests: list[Received] = []
        self._faults = Faults()
        self._answers = Gate()
        self._stopped = Gate(closed=True)
        self._ledger = Ledger(self._options)
        self._authorize = Authorize(self._options, self._ledger, lambda: self.issuer, PATHS["authorize"])
        self._endpoints = Endpoints(self._options, self._ledger, lambda: self.issuer)
        self.app = Starlette(routes=[*self._routes(), *routes])
        super().__init__(self.app, issuer=issuer, host=host, port=port)

    # Where it is.

    def start(self) -> None:
        """Listen; a server that was stopped takes the same port and still knows what it granted.

        Raises:
            PortTaken: the port is in use.
        """
        self._stopped.close()
        super().start()

    def stop(self) -> None:
        """Let go of every held answer and stop listening."""
        self._answers.open()
        self._stopped.open()
        super().stop()

    @property
    def client(self) -> Client:
        """The first client."""
        return next(iter(self._options.clients.values()))

    # What a person does.

    def approve(self, url: str, *, user: str | None = None, scopes: Iterable[str] | None = None) -> str:
        """Follow an authorization URL as a person who says yes, without a page.

        Args:
            url: what the client would send the browser to.
            user: the account; the first one by default.
            scopes: what is granted, should it differ from what is asked.

        Returns:
            The callback URL, with a code, or with an error when the request itself is refused.

        Raises:
            InvalidArguments: the URL is not of this server, or names a client or redirect URI unknown to it.
        """
        granted = None if scopes is None else tuple(scopes)
        return self._follow(url, lambda asked: self._authorize.approve(asked, subject=user, scopes=granted))

    def deny(self, url: str) -> str:
        """Follow an authorization URL as a person who says no; see ``approve``."""
        return self._follow(url, self._authorize.deny)

    def _follow(self, url: str, answer: Callable[[Asked], str]) -> str:
        parts = urlsplit(url)
        if parts.path != PATHS["authorize"]:
            raise InvalidArguments(
                f"An authorization URL of this server leads to {PATHS['authorize']}, not to {parts.path!r}. "
                "Set the provider's authorize_url to server.authorize_url."
            )
        with self._lock:
            try:
                asked = self._authorize.judge(tuple(parse_qsl(parts.query, keep_blank_values=True)))
            except Unanswerable as problem:
                raise InvalidArguments(f"The authorization URL cannot be answered. {problem}") from problem
            except SentBack as sent:
                return sent.url
            return answer(asked)

    # What was seen.

    @property
    def requests(self) -> list[Received]:
        """Every request that arrived over HTTP, in order."""
        with self._lock:
            return list(self._requests)

    def wait_requests(self, count: int, timeout: float = 5.0) -> None:
        """Block until ``count`` requests have arrived; in a coroutine, call it by ``asyncio.to_thread``.

        Raises:
            TimeoutError: they had not within ``timeout`` seconds.
        """
        with self._lock:
            if not self._lock.wait_for(lambda: len(self._requests) >= count, timeout):
                raise TimeoutError(f"{len(self._requests)} requests arrived within {timeout:g} s, not {count}.")

    @property
    def exchanges(self) -> int:
        """How many codes the token endpoint was given, good or not."""
        return self._endpoints.counts.exchanges

    @property
    def refreshes(self) -> int:
        """How many refresh tokens the token endpoint was given, good or not."""
        return self._endpoints.counts.refreshes

    @property
    def revocations(self) -> int:
        """How many requests the revocation endpoint got."""
        return self._endpoints.counts.revocations

    @property
    def issued(self) -> list[str]:
        """Every access and refresh token ever issued, in order: canaries for where no secret may be."""
        with self._lock:
            return list(self._ledger.tokens)

    @property
    def codes(self) -> list[str]:
        """Every authorization code ever issued, in order."""
        with self._lock:
            return list(self._ledger.codes)

    def alive(self, token: str) -> bool:
        """Whether an access or refresh token is good now."""
        with self._lock:
            return self._ledger.live(token) is not None

    def family_alive(self, token: str) -> bool:
        """Whether the consent that a token stems from still stands, be the token itself used up or expired.

        Raises:
            InvalidArguments: this server never issued the token.
        """
        with self._lock:
            found = self._ledger.tokens.get(token)
        if found is None:
            raise InvalidArguments("This server never issued that token. Take one of server.issued.")
        return found.family.alive

    def bearer(self, authorization: str, scope: str | None = None) -> Token | Response:
        """For routes of your own: the live token in an Authorization header, or the refusal."""
        with self._lock:
            return self._endpoints.bearer(authorization, scope)

    # What goes wrong.

    def fail_next(
        self,
        status: int | None = None,
        body: str | bytes = "",
        *,
        headers: Mapping[str, str] | None = None,
        hang: bool = False,
        html: bool = False,
        huge: bool = False,
        drop: bool = False,
        processed: bool = False,
        times: int = 1,
        at: str = "token",
    ) -> None:
        """Answer the next requests wrongly.

        Args:
            status: HTTP status; 200 for ``html`` and ``huge``, else 500, unless given.
            body: the body, sent as JSON unless ``headers`` say otherwise.
            headers: further headers.
            hang: never answer, until the client goes away or the server stops.
            html: answer with a page, as a captive portal does.
            huge: answer with 64 MiB.
            drop: cut the connection.
            processed: do first what was asked; only the answer is lost.
            times: how many requests.
            at: which endpoint: ``token``, ``revoke``, ``introspect``, ``userinfo``, ``mail`` or ``metadata``.

        Raises:
            InvalidArguments: there is no such endpoint.
        """
        if at not in PATHS:
            raise InvalidArguments(f"There is no endpoint {at!r}; take one of {', '.join(PATHS)}.")
        fault = Fault(
            status=status if status is not None else 200 if html or huge else 500,
            body=body,
            headers=dict(headers or {}),
            hang=hang,
            html=html,
            huge=huge,
            drop=drop,
            processed=processed,
        )
        self._faults.add(at, fault, times)

    def heal(self) -> None:
        """Forget the faults that no request has met yet."""
        self._faults.clear()

    def pause(self) -> None:
        """Hold the answers of the token endpoint; what they tell has happened already."""
        self._answers.close()

    def resume(self) -> None:
        """Let the held answers go."""
        self._answers.open()

    def wait_held(self, count: int = 1, timeout: float = 5.0) -> None:
        """Block until ``count`` answers are held; from a coroutine call it by ``asyncio.to_thread``.

        Raises:
            TimeoutError: they were not within ``timeout`` seconds.
        """
        if not self._answers.wait_held(count, timeout):
            raise TimeoutError(f"Fewer than {count} answers were held within {timeout:g} s.")

    def revoke_all(self) -> None:
        """Withdraw every consent, as a user may do at the provider."""
        with self._lock:
            for token in self._ledger.tokens.values():
                token.family.alive = False

    def expire_access_tokens(self) -> None:
        """Let every access token end now; refresh tokens stay good."""
        with self._lock:
            now = self._options.clock.now()
            for token in self._ledger.tokens.values():
                if token.kind == "access":
                    token.expires_at = now

    def _routes(self) -> list[BaseRoute]:
        endpoints, authorize = self._endpoints, self._authorize
        rows: tuple[tuple[str, str, Callable[[Received], Response]], ...] = (
            ("authorize", "GET", authorize.show),
            ("authorize", "POST", authorize.settle),
            ("token", "POST", endpoints.token),
            ("revoke", "POST", endpoints.revoke),
            ("introspect", "POST", endpoints.introspect),
            ("userinfo", "GET", endpoints.userinfo),
            ("mail", "GET", endpoints.mail),
            ("metadata", "GET", endpoints.metadata),
        )
        return [Route(PATHS[name], self._serve(name, handle), methods=[method]) for name, method, handle in rows]

    def _serve(self, name: str, handle: Callable[[Received], Response]) -> Callable[[Request], object]:
        async def serve(request: Request) -> Response:
            received = await receive(request)
            with self._lock:
                self._requests.append(received)
                self._lock.notify_all()
            fault = self._faults.take(name)
            if fault is None or fault.processed:
                with self._lock:
                    answer = handle(received)
            if fault is not None:
                answer = fault.response(self._stopped)
            if name == "token":
                await self._answers.passed()
            return answer

        return serve
