"""The link of a flow whose request is pushed: each opening pushes it, and goes on to the provider (RFC 9126)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from valetkey.connections.answer import Answering
from valetkey.connections.starting import Starting
from valetkey.entrypoints.web import page
from valetkey.errors import Denied, ValetkeyError
from valetkey.interactions.service import Interactions

if TYPE_CHECKING:
    from valetkey.entrypoints.web.interaction import Claims, Endpoint


class StartPages:
    """Sends whoever may answer on to the provider, and nobody else.

    What was pushed lives for a minute or so, and a link for ten: so it is pushed when the person comes. A page that
    fails says what to do, and may be loaded again.

    Args:
        claims: where several people are served: then only the browser that claimed the link gets any further.
    """

    def __init__(self, *, answering: Answering, interactions: Interactions, claims: Claims | None = None) -> None:
        self._answering = answering
        self._starting = Starting(answering=answering, interactions=interactions)
        self._interactions = interactions
        self._claims = claims

    def routes(self) -> list[BaseRoute]:
        """To be mounted where the addresses of ``Links`` point."""
        known = self.start if self._claims is None else self._known(self._claims)
        return [Route("/auth/{provider}/oauth2/start", known, methods=["GET"])]

    def _known(self, claims: Claims) -> Endpoint:
        return claims.known(self.start)

    async def start(self, request: Request) -> Response:
        """Push, and redirect."""
        if request.method != "GET":
            # HEAD asks what GET would answer, and must not push.
            return page.from_status(405)
        provider, parameters = request.path_params["provider"], request.query_params.multi_items()
        interaction, handler = await self._answering.asked(provider, parameters)
        try:
            self._interactions.check_browser(interaction)
        except Denied:
            if self._claims is None:
                raise
            return self._claims.not_yours(interaction, opened=False)
        try:
            url = await self._starting.url(interaction, handler)
        except ValetkeyError as error:
            return page.from_error(error, provider=str(interaction.about["title"]))
        return Response(status_code=303, headers={"Location": url})
