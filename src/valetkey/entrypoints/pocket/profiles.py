"""Which of a person's accounts a call names: its program by an argument, a model among the person's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from valetkey.errors import InvalidArguments
from valetkey.model.caller import Owner
from valetkey.model.connections import DEFAULT_PROFILE
from valetkey.tools.tool import Tool

if TYPE_CHECKING:
    from valetkey.wiring.system import System


def named(profile: str) -> str | None:
    """The profile that a program's call names; the contract's default value names none."""
    return None if profile == DEFAULT_PROFILE else profile


async def of_tool(system: System, tool: Tool, owner: Owner) -> list[str]:
    """The owner's own profiles at the tool's providers: those that a model may name."""
    found: set[str] = set()
    for need in {need for needs in tool.needs.alternatives for need in needs}:
        provider = need.provider or system.handling.find(need.handler, None).provider.name
        found.update(row.profile for row in await system.stores.connections.of_owner(owner, provider))
    return sorted(found)


async def chosen(system: System, tool: Tool, owner: Owner, profile: object) -> str | None:
    """A model's choice: one of the owner's own, in which ``default`` is a name like any; None: it made none.

    Raises:
        InvalidArguments: it is none of the owner's.
    """
    allowed = await of_tool(system, tool, owner)
    if isinstance(profile, str) and profile in allowed:
        return profile
    if profile is None or profile == DEFAULT_PROFILE:
        return None
    known = ", ".join(dict.fromkeys([DEFAULT_PROFILE, *allowed]))
    raise InvalidArguments(f"profile has to be one of {known}.")


def takes_profile(tool: Tool) -> bool:
    """Whether the name ``profile`` is free for the choice of an account."""
    return "profile" not in tool.schema.get("properties", {})


def described(tool: Tool, profiles: list[str] | None) -> dict[str, Any]:
    """What a model is told of a tool, with the profiles that it may name."""
    schema = dict(tool.schema)
    if profiles and takes_profile(tool):
        choice = {"type": "string", "enum": profiles, "description": "Which of the person's accounts to use."}
        schema["properties"] = {**schema.get("properties", {}), "profile": choice}
    return {"name": tool.name, "description": tool.description, "parameters": schema}
