"""The page of a device code: the code, where to enter it, and how it goes on (RFC 8628 §3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from valetkey.connections.answer import Answering
from valetkey.entrypoints.web import page
from valetkey.entrypoints.web.pages_links import host_of
from valetkey.errors import Denied, InvalidAnswer
from valetkey.interactions.service import Interactions
from valetkey.interactions.states import ENDED
from valetkey.model.interactions import Interaction

if TYPE_CHECKING:
    from valetkey.entrypoints.web.interaction import Claims, Endpoint

AGAIN = 5
"""Seconds after which the page looks again whether the person has entered the code."""


class DevicePages:
    """Shows a code to whoever may answer, and to nobody else.

    The page holds the user code only. It loads itself anew, without a script, until the flow has ended or asks
    whose account it is; each load also has this process fetch the answer, should nobody else do it.

    Args:
        claims: where several people are served: then only the browser that claimed the link sees the code.
    """

    def __init__(
        self,
        *,
        answering: Answering,
        interactions: Interactions,
        program: str,
        claims: Claims | None = None,
    ) -> None:
        self._answering = answering
        self._interactions = interactions
        self._program = program
        self._claims = claims

    def routes(self) -> list[BaseRoute]:
        """To be mounted where the addresses of ``Links`` point."""
        return [Route("/auth/{provider}/device", self._known(self.show), methods=["GET"])]

    def _known(self, endpoint: Endpoint) -> Endpoint:
        return endpoint if self._claims is None else self._claims.known(endpoint)

    async def show(self, request: Request) -> Response:
        """The code; or, once it is over, how it ended."""
        interaction, _ = await self._answering.asked(
            request.path_params["provider"], request.query_params.multi_items()
        )
        try:
            self._interactions.check_browser(interaction)
        except Denied:
            if self._claims is None:
                raise
            return self._claims.not_yours(interaction, opened=False)
        if interaction.confirming or interaction.phase in ENDED:
            # Relative, so that a prefix that a reverse proxy takes off stays in the browser's address.
            return Response(status_code=303, headers={"Location": f"result/{interaction.id}"})
        shown = self._shown(interaction)
        self._answering.follow(interaction)
        uri = shown["verification_uri"]
        link = shown.get("verification_uri_complete") or uri
        response = page.show(
            "device.html",
            provider=page.plain(str(interaction.about["title"])),
            program=page.plain(self._program),
            code=shown["user_code"],
            link=link,
            filled=link != uri,
            uri=link,
            host=host_of(link),
            again=AGAIN,
        )
        response.headers["refresh"] = str(AGAIN)
        return response

    def _shown(self, interaction: Interaction) -> Mapping[str, str]:
        shown: Mapping[str, str] = self._interactions.payload(interaction).get("shown", {})
        if "user_code" not in shown:
            raise InvalidAnswer("This account is connected without a code. Open the link from your program again.")
        return shown
