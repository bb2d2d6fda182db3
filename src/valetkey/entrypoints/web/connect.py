"""Connect an account: the callbacks, the form for pasted values, and the page that says how it ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from valetkey.connections.answer import Answering
from valetkey.connections.handler import Handler
from valetkey.entrypoints.web import page
from valetkey.entrypoints.web.confirm import ConfirmPages
from valetkey.entrypoints.web.device import DevicePages
from valetkey.entrypoints.web.forms import Forms
from valetkey.entrypoints.web.start import StartPages
from valetkey.errors import AuthExpired, AuthRefused, Denied, InvalidAnswer, ValetkeyError
from valetkey.interactions.browser import claimed_here
from valetkey.interactions.service import Interactions
from valetkey.interactions.states import WAITING
from valetkey.model.interactions import Interaction, Phase

if TYPE_CHECKING:
    from valetkey.entrypoints.web.interaction import Claims, Endpoint

PASTED = ("token", "basicauth", "keypair")


class ConnectPages:
    """The pages of one system. Every answer of a provider ends on a clean URL, without code and state.

    Args:
        claims: where several people are served: then only the browser that claimed a link gets any further. Where the
            browser goes after a callback is fixed here; nothing in a request says so.
    """

    def __init__(
        self,
        *,
        answering: Answering,
        began: Callable[[str], Answering | None],
        interactions: Interactions,
        forms: Forms,
        program: str,
        claims: Claims | None = None,
    ) -> None:
        self._claims = claims
        self._base = answering
        self._began = began
        self._interactions = interactions
        self._forms = forms
        self._program = program
        self._device = DevicePages(answering=answering, interactions=interactions, program=program, claims=claims)
        self._start = StartPages(answering=answering, interactions=interactions, claims=claims)
        self._confirm = ConfirmPages(
            answering=answering, began=began, interactions=interactions, forms=forms, claims=claims
        )
        self._promised: set[str] = set()
        self._kept = asyncio.Event()
        self._kept.set()

    async def keep_promises(self, seconds: float) -> None:
        """Wait until every browser that was sent on to a result has it, ``seconds`` at most.

        A script may end as soon as its account is connected; the person is still to see that it is.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._kept.wait()

    def _promise(self, interaction: Interaction) -> None:
        self._promised.add(interaction.id)
        self._kept.clear()

    def _keep(self, interaction_id: str) -> None:
        self._promised.discard(interaction_id)
        if not self._promised:
            self._kept.set()

    def routes(self) -> list[BaseRoute]:
        """To be mounted where the addresses of ``Links`` point."""
        return [
            *([] if self._claims else [Route("/health", self.health, methods=["GET"])]),
            Route("/auth/{provider}/oauth2/callback", self._known(self.callback), methods=["GET"]),
            Route("/auth/{provider}/result/{interaction}", self._known(self.result), methods=["GET"]),
            *self._start.routes(),
            *self._device.routes(),
            *self._confirm.routes(),
            *(Route(f"/auth/{{provider}}/{kind}", self._known(self.show_form), methods=["GET"]) for kind in PASTED),
            *(Route(f"/auth/{{provider}}/{kind}", self._known(self.take_form), methods=["POST"]) for kind in PASTED),
        ]

    def _known(self, endpoint: Endpoint) -> Endpoint:
        return endpoint if self._claims is None else self._claims.known(endpoint)

    def _elsewhere(self, interaction: Interaction) -> Response | None:
        """The page for a browser that did not claim it; None: it did, or nobody has to."""
        try:
            self._interactions.check_browser(interaction)
        except Denied:
            if self._claims is None:
                raise
            return self._claims.not_yours(interaction, opened=False)
        return None

    async def health(self, request: Request) -> Response:
        """Whether this server is up."""
        return JSONResponse({"status": "ok"})

    async def callback(self, request: Request) -> Response:
        """A provider sends the browser back (RFC 6749 §4.1.2)."""
        if request.method != "GET":
            # HEAD asks what GET would answer, and must not spend the code.
            return page.from_status(405)
        provider = request.path_params["provider"]
        parameters = request.query_params.multi_items()
        interaction, handler = await self._base.asked(provider, parameters)
        if handler.fields:
            # A GET brings no proof that our form was shown, and what is in its URL stays in histories and logs.
            raise InvalidAnswer("This account is connected by a form. Open the link from your program again.")
        elsewhere = self._elsewhere(interaction)
        if elsewhere is not None:
            return elsewhere
        return await self._answer(interaction, provider, parameters, "../result")

    async def show_form(self, request: Request) -> Response:
        """Ask for the values that a provider gave the person."""
        interaction, handler = await self._asked(request)
        return self._elsewhere(interaction) or self._form(request, *_open(interaction, handler))

    async def take_form(self, request: Request) -> Response:
        """Take the values; by POST only, so that none is ever in a URL."""
        interaction, handler = await self._asked(request)
        elsewhere = self._elsewhere(interaction)
        if elsewhere is not None:
            return elsewhere
        _open(interaction, handler)
        state = request.query_params["state"]
        fields = await self._forms.read(request, state)
        provider = handler.provider.name
        parameters = [("state", state), *((name, value) for name, value in fields.items() if name != "state")]
        try:
            handler.judge(self._interactions.payload(interaction)["private"], parameters)
        except InvalidAnswer as wrong:
            return self._form(request, interaction, handler, error=wrong.message)

        def once_more(why: str) -> Response:
            return self._form(request, interaction, handler, error=why)

        return await self._answer(interaction, provider, parameters, "result", once_more)

    async def result(self, request: Request) -> Response:
        """How it ended."""
        interaction = await self._interactions.get(request.path_params["interaction"])
        self._keep(request.path_params["interaction"])
        # Where several people are served, how it ended is told to nobody but the claimer.
        told = self._claims is None or (interaction is not None and claimed_here(interaction))
        if interaction is None or not told or interaction.about.get("provider") != request.path_params["provider"]:
            return page.not_found()
        title = str(interaction.about["title"])
        if interaction.confirming and interaction.phase in WAITING:
            return Response(status_code=303, headers={"Location": f"../confirm/{interaction.id}"})
        if interaction.phase in (Phase.DONE, Phase.ANSWERED, Phase.SETTLING):
            held = await (self._began(interaction.id) or self._base).held(interaction)
            done = interaction.phase is Phase.DONE
            return page.connected(
                provider=title,
                account=held.account if held and done else None,
                note=interaction.reason if done else "",
                profile=str(interaction.about["profile"]),
                scopes=[str(scope) for scope in _listed(interaction.about["scopes"])],
                program=self._program,
            )
        return self._not_connected(request, interaction, title)

    def _not_connected(self, request: Request, interaction: Interaction, title: str) -> Response:
        if interaction.phase is Phase.REFUSED:
            return page.refused(provider=title, reason=interaction.reason)
        if interaction.phase is Phase.EXPIRED:
            return page.expired(provider=title)
        if interaction.phase is Phase.FAILED:
            return page.failed(
                title=f"{title} is not connected",
                what=interaction.reason,
                next_step="Go back to your program and start again: it gives you a new link.",
                status=409,
                reference=page.reference_of(request.scope),
            )
        return page.not_found()

    async def _answer(
        self,
        interaction: Interaction,
        provider: str,
        parameters: list[tuple[str, str]],
        result: str,
        once_more: Callable[[str], Response] | None = None,
    ) -> Response:
        self._promise(interaction)
        try:
            answering = self._began(interaction.id) or self._base
            await answering.answered(provider, parameters)
        except ValetkeyError as error:
            now = await self._interactions.get(interaction.id)
            unanswered = now is None or now.phase in WAITING or now.phase is Phase.ANSWERED
            if unanswered or isinstance(error, InvalidAnswer):
                self._keep(interaction.id)
                if once_more and isinstance(error, InvalidAnswer) and now is not None and now.phase in WAITING:
                    return once_more(error.message)
                return page.from_error(error, provider=str(interaction.about["title"]))
        # Relative, so that a prefix that a reverse proxy takes off stays in the browser's address.
        return Response(status_code=303, headers={"Location": f"{result}/{interaction.id}"})

    async def _asked(self, request: Request) -> tuple[Interaction, Handler]:
        return await self._base.asked(request.path_params["provider"], request.query_params.multi_items())

    def _form(self, request: Request, interaction: Interaction, handler: Handler, error: str | None = None) -> Response:
        state = request.query_params["state"]
        return page.paste_form(
            provider=handler.provider.title,
            fields=handler.fields,
            action=f"{request.url.path.rpartition('/')[2]}?state={state}",
            token=self._forms.issue(request, state),
            error=error,
            docs=handler.provider.docs,
            scopes=[str(scope) for scope in _listed(interaction.about["scopes"])],
            program=self._program,
            owner=interaction.owner.subject,
        )


def _open(interaction: Interaction, handler: Handler) -> tuple[Interaction, Handler]:
    """The same, where it is a form's and can be answered still.

    Raises:
        AuthRefused, AuthExpired, InvalidAnswer: it is not.
    """
    if interaction.phase is Phase.REFUSED:
        raise AuthRefused(interaction.reason)
    if interaction.phase not in WAITING or interaction.confirming:
        raise AuthExpired(interaction.reason or "This link was used before. Go back to your program.")
    if not handler.fields:
        raise InvalidAnswer("This link leads to the provider's own page. Open it from your program again.")
    return interaction, handler


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []
