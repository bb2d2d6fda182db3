"""For admins: who has an account here, who and what is blocked, and what happened last."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from valetkey.entrypoints.web import page, words
from valetkey.entrypoints.web.session import Signed, SignedPages
from valetkey.errors import Denied, InvalidAnswer, NotFound
from valetkey.model.accounts import Account
from valetkey.model.audit import Record
from valetkey.model.stops import Stop

LATEST = 50
"""Audit records that are shown."""

_ONLY_ADMINS = "This page is for admins. Ask one of them, or sign in with an account that has the role."


class AdminPages(SignedPages):
    """Lists for admins, and the one thing that is urgent: to disable an account."""

    def routes(self) -> list[BaseRoute]:
        """To be mounted at the public address, behind a guard."""
        own = self._browsers.signed_in
        return [
            Route("/admin", own(self.show), methods=["GET"]),
            Route("/admin/accounts/{name}/disable", own(self.disable), methods=["POST"]),
        ]

    async def show(self, request: Request, signed: Signed) -> Response:
        """All lists."""
        _require_admin(signed)
        now = self._identity.system.clock.now()
        records = await self._identity.system.stores.audit.latest(limit=LATEST)
        return page.show(
            "admin.html",
            token=self._forms.issue(request, signed.session),
            root=self._browsers.path(""),
            accounts=[_account(each, now, signed.user.id) for each in await self._identity.accounts.list()],
            blocks=[_block(each, now) for each in await self._identity.blocks.list()],
            records=[_record(each, now) for each in reversed(records)],
        )

    async def disable(self, request: Request, signed: Signed) -> Response:
        """Disable an account: its sessions and tokens end, and it signs in no more."""
        _require_admin(signed)
        await self._forms.read(request, signed.session)
        account = await self._identity.accounts.get(request.path_params["name"])
        if account is None:
            raise NotFound("There is no account of that name.")
        if account.id == signed.user.id:
            raise InvalidAnswer("This is your own account. Let another admin disable it.")
        await self._identity.accounts.disable(account.name)
        return page.see_other(self._browsers.path("/admin"))


def _require_admin(signed: Signed) -> None:
    if not signed.is_admin:
        raise Denied(_ONLY_ADMINS)


def _account(account: Account, now: float, me: str) -> dict[str, object]:
    return {
        "name": account.name,
        "me": account.id == me,
        "disabled": account.disabled,
        "roles": [page.plain(role) for role in account.roles],
        "facts": [fact for fact in (account.email, f"Made {words.moment(account.created_at, now=now)}") if fact],
    }


def _block(stop: Stop, now: float) -> dict[str, object]:
    ends = f"Ends {words.moment(stop.ends_at, now=now)}" if stop.ends_at else ""
    since = f"Since {words.moment(stop.created_at, now=now)}{f' by {page.plain(stop.by)}' if stop.by else ''}"
    return {
        "kind": stop.kind.value,
        "target": page.plain(stop.target),
        "facts": [fact for fact in (page.plain(stop.reason), since, ends) if fact],
    }


def _record(record: Record, now: float) -> dict[str, object]:
    entry = record.entry
    return {
        "seq": record.seq,
        "when": words.moment(record.at, now=now),
        "action": entry.action.value,
        "outcome": entry.outcome,
        "who": page.plain(entry.user or entry.subject) or "nobody known",
        "what": page.plain(entry.what),
        "address": page.plain(entry.address),
    }
