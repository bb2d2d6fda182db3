"""The road of a chat: that of the system, with rules that know what the chat offers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container
from dataclasses import replace

from valetkey.adapters import spec_file
from valetkey.adapters.asgi import AppFetcher
from valetkey.errors import ToolsGenerationError, ValetkeyError
from valetkey.pipeline import Road
from valetkey.policy.decide import Policy
from valetkey.policy.rules import ChatOperations, MarkedOperations, Rule
from valetkey.ports.world import Fetcher, Request, Trust
from valetkey.settings.policy import read_rules
from valetkey.tools.openapi.spec import LARGEST, Document, parse
from valetkey.wiring.system import System

SPEC_DEADLINE = 30.0
"""Seconds for fetching an OpenAPI document."""


def chat_road(system: System, *, offered: Container[str], marked: Container[str]) -> Road:
    """The system's road for one chat.

    Args:
        system: whose connections, lender and watch it shares.
        offered: the names of the tools that the chat offers; asked at each call.
        marked: those of them of which each call has to be approved.
    """
    rules: list[Rule] = [
        ChatOperations(offered) if isinstance(rule, ChatOperations) else rule
        for rule in read_rules(system.config.sources)
    ]
    handling = system.handling
    policy = Policy(
        [*rules, MarkedOperations(marked)],
        provider_of=lambda need: handling.find(need.handler, need.provider or None).provider.name,
        audit=system.audit,
        oversight=system.oversight,
    )
    return replace(system.road, policy=policy)


def app_fetcher(app: Callable[..., Awaitable[None]]) -> Fetcher:
    """What sends requests into an app in process."""
    return AppFetcher(app)


def spec_from_file(path: str) -> Document:
    """The OpenAPI document of a file.

    Raises:
        ToolsGenerationError: there is none, or it cannot be used; the text says why.
    """
    return parse(spec_file.read(path, most=LARGEST), name=path)


def spec_from_url(system: System, url: str) -> Document:
    """The OpenAPI document at a URL that the operator named. Waits for it; not on the home loop.

    Raises:
        ToolsGenerationError: there is none, or it cannot be used; the text says why.
    """
    request = Request(
        method="GET",
        url=url,
        trust=Trust.OPERATOR,
        headers={"Accept": "application/json, application/yaml;q=0.9, */*;q=0.5"},
        deadline=SPEC_DEADLINE,
        cap=LARGEST,
    )
    name = url.partition("?")[0]
    try:
        response = system.home.block(lambda: system.fetcher.fetch(request))
    except ValetkeyError as error:
        raise ToolsGenerationError(f"The OpenAPI document at {name} cannot be fetched: {error}") from None
    if response.status != 200:  # noqa: PLR2004  # redirects are not followed: credentials go where the document is
        raise ToolsGenerationError(f"The OpenAPI document at {name} cannot be fetched: HTTP {response.status}.")
    return parse(response.body, name=name)
