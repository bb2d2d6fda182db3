"""The page that a link leads to: its owner's browser claims it, and only then goes on to the provider."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from valetkey.entrypoints.web import page, pages_links
from valetkey.entrypoints.web.forms import Forms
from valetkey.entrypoints.web.interaction import Claims, signed_in
from valetkey.errors import InvalidAnswer
from valetkey.identity.verifiers.vouched import HOST
from valetkey.interactions.browser import claimed_here
from valetkey.interactions.service import Interactions
from valetkey.interactions.states import WAITING, Event
from valetkey.model.caller import ANONYMOUS
from valetkey.model.interactions import Interaction

_WEB = re.compile(r"https?://[^\s/?#@]+(?:[/?#]\S*)?")

SAID_NO = "The person said no, on our own page."


class ClaimPages:
    """``/connect/<id>``: nothing personal is shown, nothing is changed and nobody is sent on before the owner check.

    Why forwarding gains nothing. The link holds the interaction's id, a hash of the state, of which no callback can
    be made. Opened by somebody else it is refused, and noted; opened signed out it leads to our sign-in. It cannot be
    claimed by a GET, so that no link preview and no ``<img>`` claims it, nor by another site's form. What the
    provider is told, the state, is first given to the browser that claimed the link; when its person forwards *that*
    address, whoever consents there comes back in a browser that did not claim, and the code is dropped unused.

    Args:
        base_url: the public address of these pages.
        program: what people know the program by; empty: it has no name.
    """

    def __init__(
        self, *, claims: Claims, interactions: Interactions, forms: Forms, base_url: str, program: str = ""
    ) -> None:
        self._claims = claims
        self._interactions = interactions
        self._forms = forms
        self._base_url = base_url.rstrip("/")
        self._program = program

    def routes(self) -> list[BaseRoute]:
        """To be mounted at the public address, behind a guard."""
        return [
            Route("/connect/{interaction}", self._claims.known(self.show), methods=["GET"]),
            Route("/connect/{interaction}", self._claims.known(self.answer), methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:
        """Ask its owner whether to go on."""
        found = await self._checked(request)
        if isinstance(found, Response):
            return found
        if found.confirming and claimed_here(found):
            return page.see_other(self._claims.path(f"/auth/{found.about['provider']}/confirm/{found.id}"))
        return self._page(request, found)

    async def answer(self, request: Request) -> Response:
        """Claim it for this browser, and go on to the provider; or end it."""
        found = await self._checked(request)
        if isinstance(found, Response):
            return found
        fields = await self._forms.read(request, _form_state(found))
        if fields.get("answer") not in ("yes", "no"):
            raise InvalidAnswer("This form holds no answer: go back, and choose one of its buttons.")
        if fields["answer"] == "yes" and fields.get("shown") != _shown(found):
            return self._page(request, found, changed=True)
        claimed = await self._claims.claim(found)
        if fields["answer"] == "yes" and _shown(claimed) != _shown(found):
            return self._page(request, claimed, changed=True)
        if fields["answer"] == "no":
            await self._turn_down(claimed)
            return page.see_other(self._claims.path(f"/auth/{found.about['provider']}/result/{found.id}"))
        return RedirectResponse(self._next(claimed), status_code=303)

    async def _checked(self, request: Request) -> Interaction | Response:
        found = await self._claims.find(request.path_params["interaction"])
        if found is None:
            return page.not_found()
        if not self._claims.is_owner(found):
            if signed_in() is None and found.owner.issuer not in (HOST, ANONYMOUS):
                return await self._claims.sign_in_first(request)
            self._claims.refuse(found)
            return self._claims.not_yours(found, opened=True)
        if found.phase not in WAITING:
            return page.expired(provider=str(found.about["title"]))
        return found

    async def _turn_down(self, claimed: Interaction) -> None:
        """Say no; whoever answered in another window meanwhile was quicker."""
        if await self._interactions.move(claimed, Event.REFUSE, reason=SAID_NO) is None:
            latest = await self._interactions.get(claimed.id)
            if latest is not None and latest.phase in WAITING:
                await self._interactions.move(latest, Event.REFUSE, reason=SAID_NO)

    def _page(self, request: Request, found: Interaction, *, changed: bool = False) -> Response:
        caller, url = signed_in(), self._next(found)
        scopes = found.about["scopes"]
        return pages_links.claim(
            provider=str(found.about["title"]),
            url=url,
            ours=url.startswith(f"{self._base_url}/"),
            tool=str(found.about.get("tool", "")),
            program=self._program,
            user=caller.user.id if caller is not None and caller.user else found.owner.subject,
            workspace=found.owner.workspace,
            profile=str(found.about["profile"]),
            scopes=[str(scope) for scope in scopes] if isinstance(scopes, list | tuple) else [],
            action=self._claims.path(f"/connect/{found.id}"),
            shown=_shown(found),
            changed=changed,
            token=self._forms.issue(request, _form_state(found)),
        )

    def _next(self, found: Interaction) -> str:
        url = str(self._interactions.payload(found)["url"])
        if not _WEB.fullmatch(url):
            raise InvalidAnswer("The next step of this sign-in is no page that a browser opens. Tell who made it.")
        return url


def _form_state(found: Interaction) -> str:
    caller = signed_in()
    return f"connect {found.id} {'' if caller is None else caller.token}"


def _shown(found: Interaction) -> str:
    return pages_links.digest(dict(found.about))
