"""All that a link can lead to, where several people are served: claim, callbacks, handlers' own routers, approve."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from starlette.routing import BaseRoute

from valetkey.entrypoints.web.approve import ApprovePages
from valetkey.entrypoints.web.claim import ClaimPages
from valetkey.entrypoints.web.connect import ConnectPages
from valetkey.entrypoints.web.interaction import Claims
from valetkey.entrypoints.web.own import OwnRoutes
from valetkey.entrypoints.web.session import Browsers

if TYPE_CHECKING:
    from valetkey.entrypoints.web.forms import Forms
    from valetkey.wiring.identity import Identity


def link_routes(
    identity: Identity,
    forms: Forms,
    *,
    base_url: str,
    program: str = "",
    trusted_proxies: Collection[str] = (),
) -> list[BaseRoute]:
    """The routes, to be mounted at the public address behind a guard; from now on links lead there.

    Args:
        identity: whose system becomes one for several people.
        forms: shared by all pages.
        base_url: the public address, without a slash at the end.
        program: what people know the program by.
        trusted_proxies: whose ``X-Forwarded-For`` is believed.
    """
    system = identity.system
    system.links.lead_to_pages(base_url)
    browsers = Browsers(chain=identity.chain, base_url=base_url, trusted_proxies=trusted_proxies)
    claims = Claims(browsers=browsers, interactions=system.interactions, audit=identity.audit)
    connect = ConnectPages(
        answering=system.answering,
        began=system.links.answering,
        interactions=system.interactions,
        forms=forms,
        program=program,
        claims=claims,
    )
    claim = ClaimPages(claims=claims, interactions=system.interactions, forms=forms, base_url=base_url, program=program)
    approve = ApprovePages(
        approvals=identity.approvals,
        consents=identity.consents,
        browsers=browsers,
        forms=forms,
        now=system.clock.now,
    )
    # A handler of the host program may serve a path that ours would, too: it goes first.
    return [OwnRoutes(system.links.routers, claims=claims), *claim.routes(), *approve.routes(), *connect.routes()]
