"""Functions of registered services, as tools for one person: what they may not see is not offered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace

from valetkey.entrypoints.chat.rooms import Chat
from valetkey.entrypoints.chat.session import ChatSession
from valetkey.errors import Denied, InvalidArguments, MissingSetting, NotFound, ValetkeyError
from valetkey.model.caller import Caller
from valetkey.ports.agents import ServiceCalls
from valetkey.tools.openapi.names import distinct
from valetkey.tools.service import ServiceTool, tools_of
from valetkey.tools.tool import Tool

PATIENCE = 3.0
"""Seconds that a turn waits for a service to be found; the person waits meanwhile."""

_NONE = (
    "The setting services of a chat names %s, and this process serves no services."
    " Call mount_valetkey(app, services=True) before add_bedrock_chat."
)
_log = logging.getLogger("valetkey")


async def services_of(chat: Chat, session: ChatSession, taken: Mapping[str, Tool]) -> dict[str, Tool]:
    """The tools of the services that the chat names, by name.

    Args:
        chat: the chat.
        session: whose person they are for; one that is not there, or not for them, is left out.
        taken: by name what is offered already.
    """
    named = list(dict.fromkeys(chat.config.services))
    calls = chat.system.services.calls
    if calls is None:
        _log.warning(_NONE, ", ".join(named))
        return {}
    caller = await chat.road.chain.identify(session.presented)
    found = await asyncio.gather(*(_tools(chat, calls, each, caller) for each in named))
    offered: dict[str, Tool] = {}
    for tool in (tool for tools in found for tool in tools):
        whole = f"{tool.service} {'.'.join(tool.path)}"
        name = distinct(tool.name, whole, {**taken, **offered})
        offered[name] = tool if name == tool.name else replace(tool, name=name)
    return offered


async def _tools(chat: Chat, calls: ServiceCalls, query: str, caller: Caller) -> list[ServiceTool]:
    def now() -> ServiceCalls:
        current = chat.system.services.calls
        if current is None:
            raise MissingSetting("This process serves no services any more.")
        return current

    try:
        async with asyncio.timeout(PATIENCE):
            found = await calls.find(query, caller)
        return tools_of(found, service=query, services=now, deadline=float(chat.config.timeout))
    except (NotFound, Denied):
        return []
    except InvalidArguments as error:
        _log.warning("a chat leaves out the service %s: %s", query, error)
    except (ValetkeyError, TimeoutError) as error:
        _log.warning("a chat leaves out the service %s: %s", query, type(error).__name__)
    return []
