"""Approve one call: who asks, which tool, which arguments, until when; yes or no. Or lend an account to a service."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from valetkey.entrypoints.web import pages_links, words
from valetkey.entrypoints.web.forms import Forms
from valetkey.entrypoints.web.session import Browsers, Signed
from valetkey.errors import InvalidAnswer
from valetkey.model.interactions import Phase
from valetkey.policy.approvals import PATH, ApprovalRequest, Approvals
from valetkey.policy.consents import ConsentRequest, Consents


class ApprovePages:
    """``/approve/<state>``, for who calls and for admins of the workspace; to anybody else it shows nothing.

    Args:
        consents: asks for lending to a service; that is shown to nobody but the caller.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        *,
        approvals: Approvals,
        consents: Consents,
        browsers: Browsers,
        forms: Forms,
        now: Callable[[], float],
    ) -> None:
        self._approvals = approvals
        self._consents = consents
        self._browsers = browsers
        self._forms = forms
        self._now = now

    def routes(self) -> list[BaseRoute]:
        """To be mounted at the public address, behind a guard."""
        own = self._browsers.signed_in
        return [
            Route(f"{PATH}{{state}}", own(self.show), methods=["GET"]),
            Route(f"{PATH}{{state}}", own(self.answer), methods=["POST"]),
        ]

    async def show(self, request: Request, signed: Signed) -> Response:
        """Ask; or say what became of it."""
        state = request.path_params["state"]
        lending = await self._consents.asked(state, signed.caller)
        if lending is not None:
            return self._lend(request, signed, lending)
        asked = await self._approvals.asked(state, signed.caller)
        if not asked.waiting:
            return _ended(asked)
        now = self._now()
        return pages_links.approve(
            tool=asked.tool,
            arguments=asked.arguments,
            profile=asked.profile,
            reason=asked.reason,
            user=asked.user,
            workspace=asked.workspace,
            since=words.moment(asked.created_at, now=now),
            until=words.moment(asked.expires_at, now=now),
            action=self._browsers.path(f"{PATH}{state}"),
            token=self._forms.issue(request, _form_state(state, signed)),
        )

    async def answer(self, request: Request, signed: Signed) -> Response:
        """Take the answer; loaded again, the page says that it was taken before."""
        state = request.path_params["state"]
        lending = await self._consents.asked(state, signed.caller)
        if lending is not None:
            return await self._answer_lending(request, signed, lending)
        asked = await self._approvals.asked(state, signed.caller)
        fields = await self._forms.read(request, _form_state(state, signed))
        yes = _is_yes(fields)
        if not asked.waiting:
            return _ended(asked)
        await self._approvals.answer(state, signed.caller, yes=yes)
        return pages_links.approved(asked.tool) if yes else pages_links.turned_down(asked.tool)

    def _lend(self, request: Request, signed: Signed, asked: ConsentRequest) -> Response:
        state, service = request.path_params["state"], asked.lending.service
        if not asked.waiting:
            return pages_links.lending_over(service, used=asked.phase is not Phase.EXPIRED)
        return pages_links.lend(
            asked=asked,
            now=self._now(),
            action=self._browsers.path(f"{PATH}{state}"),
            token=self._forms.issue(request, _form_state(state, signed)),
        )

    async def _answer_lending(self, request: Request, signed: Signed, asked: ConsentRequest) -> Response:
        state, service = request.path_params["state"], asked.lending.service
        yes = _is_yes(await self._forms.read(request, _form_state(state, signed)))
        if not asked.waiting:
            return pages_links.lending_over(service, used=asked.phase is not Phase.EXPIRED)
        await self._consents.answer(state, signed.caller, yes=yes)
        return pages_links.lent(service) if yes else pages_links.not_lent(service)


def _is_yes(fields: Mapping[str, str]) -> bool:
    if fields.get("answer") not in ("yes", "no"):
        raise InvalidAnswer("This form holds no answer: go back, and choose one of its buttons.")
    return fields["answer"] == "yes"


def _form_state(state: str, signed: Signed) -> str:
    return f"approve {state} {signed.caller.token}"


def _ended(asked: ApprovalRequest) -> Response:
    return pages_links.over(asked.tool, used=asked.phase is not Phase.EXPIRED)
