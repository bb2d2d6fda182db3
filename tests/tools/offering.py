"""Registered services without a wire: who may see them, what they answer, and who they were told calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from valetkey.errors import Denied, NotFound
from valetkey.model.caller import Caller
from valetkey.model.services import Registered
from valetkey.model.users import UserInfo
from valetkey.services.sight import Who

HELLO = {
    "type": "function",
    "function": {
        "name": "hello",
        "description": "Greet somebody.",
        "parameters": {
            "type": "object",
            "properties": {"name": {"type": "string", "description": "whom"}},
            "required": ["name"],
        },
    },
}


def function(description: str = "", **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"description": description, "parameters": parameters}}


def greeter(schema: Mapping[str, Any] | None = None, **more: Any) -> Registered:
    given = {"workspace": "shop", "client": "one", "id": "greeter", "visibility": "public", **more}
    return Registered(
        schema={"hello": HELLO} if schema is None else schema, registrant=("valetkey", "local|eve"), **given
    )


def user(name: str = "ada", issuer: str = "valetkey", **more: Any) -> Any:
    """Somebody who signed in, as ``current_user`` gives them."""
    made = UserInfo(id=name, roles=[], **more)
    made._principal = issuer, name
    return made


@dataclass
class Called:
    service: str
    path: tuple[str, ...]
    arguments: dict[str, Any]
    caller: Caller
    deadline: float

    @property
    def context(self) -> dict[str, Any]:
        """Who the service is told calls."""
        return Who(caller=self.caller, workspace="anywhere").user


@dataclass
class Services:
    """A ServiceCalls: ``act(called)`` is what every function does; ``hidden`` says who may not see a service."""

    there: list[Registered] = field(default_factory=list)
    act: Callable[[Called], Any] = lambda called: f"hello {called.arguments.get('name', '')}"
    hidden: Callable[[Registered, Caller], bool] = lambda service, caller: False
    calls: list[Called] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def put(self, service: Registered) -> Registered:
        self.there = [each for each in self.there if each.full_id != service.full_id] + [service]
        return service

    def change(self, **more: Any) -> None:
        self.put(replace(self.there.pop(), **more))

    async def find(self, query: str, caller: Caller) -> Registered:
        self.asked.append(query)
        await asyncio.sleep(0)
        for each in self.there:
            if query in (each.full_id, f"{each.workspace}/{each.id}"):
                if self.hidden(each, caller):
                    raise Denied("Permission denied for non-public service in workspace shop")
                return each
        raise NotFound(f"Service not found: {query}")

    async def call(
        self, query: str, path: Sequence[str], arguments: Mapping[str, Any], caller: Caller, *, deadline: float
    ) -> object:
        await self.find(query, caller)
        called = Called(query, tuple(path), dict(arguments), caller, deadline)
        self.calls.append(called)
        value = self.act(called)
        return await value if isinstance(value, Awaitable) else value
