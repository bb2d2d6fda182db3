"""Whose account it is: asked where that is not what its owner expects, before it is used (RFC 8628 §5.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from valetkey.connections.answer import Answering
from valetkey.connections.confirm import question_of
from valetkey.entrypoints.web import page
from valetkey.entrypoints.web.forms import Forms
from valetkey.errors import Denied, InvalidAnswer, ValetkeyError
from valetkey.interactions.service import Interactions
from valetkey.interactions.states import WAITING
from valetkey.model.interactions import GRANT, Interaction, InteractionKind

if TYPE_CHECKING:
    from valetkey.entrypoints.web.interaction import Claims, Endpoint


class ConfirmPages:
    """Asks whether to keep an account that was obtained.

    Args:
        claims: where several people are served: then only the browser that claimed the link is asked.
        began: who began a flow in this process.
    """

    def __init__(
        self,
        *,
        answering: Answering,
        began: Callable[[str], Answering | None],
        interactions: Interactions,
        forms: Forms,
        claims: Claims | None = None,
    ) -> None:
        self._base = answering
        self._began = began
        self._interactions = interactions
        self._forms = forms
        self._claims = claims

    def routes(self) -> list[BaseRoute]:
        """To be mounted where the addresses of ``Links`` point."""
        path = "/auth/{provider}/confirm/{interaction}"
        return [
            Route(path, self._known(self.show), methods=["GET"]),
            Route(path, self._known(self.answer), methods=["POST"]),
        ]

    def _known(self, endpoint: Endpoint) -> Endpoint:
        return endpoint if self._claims is None else self._claims.known(endpoint)

    async def show(self, request: Request) -> Response:
        """Ask."""
        found = await self._checked(request)
        if isinstance(found, Response):
            return found
        held = self._interactions.payload(found)[GRANT]
        question = question_of(held)
        profile = str(found.about["profile"])
        return page.show(
            "whose.html",
            token=self._forms.issue(request, _form_state(found)),
            provider=page.plain(str(found.about["title"])),
            account=page.plain(question.account),
            before=page.plain(question.before),
            replaces=question.replaces,
            spared=bool(held.get("spared")),
            profile="" if profile == "default" else page.plain(profile),
            action=found.id,
        )

    async def answer(self, request: Request) -> Response:
        """Take the answer; by POST only, from a page that this browser was shown."""
        found = await self._checked(request)
        if isinstance(found, Response):
            return found
        fields = await self._forms.read(request, _form_state(found))
        if fields.get("answer") not in ("yes", "no"):
            raise InvalidAnswer("This form holds no answer: go back, and choose one of its buttons.")
        answering = self._began(found.id) or self._base
        try:
            await answering.decided(found, yes=fields["answer"] == "yes")
        except InvalidAnswer as error:
            return page.from_error(error)
        except ValetkeyError as error:
            latest = await self._interactions.get(found.id)
            if latest is None or latest.phase in WAITING:
                return page.from_error(error)
        return _result(found)

    async def _checked(self, request: Request) -> Interaction | Response:
        found = await self._interactions.get(request.path_params["interaction"])
        provider = request.path_params["provider"]
        if found is None or found.kind is not InteractionKind.CONNECT or found.about.get("provider") != provider:
            return page.not_found()
        try:
            self._interactions.check_browser(found)
        except Denied:
            if self._claims is None:
                raise
            return self._claims.not_yours(found, opened=False)
        if found.phase not in WAITING or not found.confirming:
            return _result(found)
        return found


def _result(found: Interaction) -> Response:
    # Relative, so that a prefix that a reverse proxy takes off stays in the browser's address.
    return Response(status_code=303, headers={"Location": f"../result/{found.id}"})


def _form_state(found: Interaction) -> str:
    return f"confirm {found.id}"
