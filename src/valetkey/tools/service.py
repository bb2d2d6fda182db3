"""A function of a registered service as a tool; who calls it goes along."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from valetkey.errors import ApprovalRequired, AuthRequired, Denied, InvalidArguments, NotFound, ValetkeyError
from valetkey.model.calls import Lent
from valetkey.model.needs import PUBLIC, Needs
from valetkey.model.services import BUILT_IN, Registered, functions_of, schema_at
from valetkey.ports.agents import ServiceCalls, ServiceFailed
from valetkey.providers.names import nearest
from valetkey.tools.function import DEADLINE
from valetkey.tools.openapi.answer import OperationFailed
from valetkey.tools.openapi.names import LONGEST_DESCRIPTION, distinct, one_line, shortened
from valetkey.tools.openapi.quick import Quick
from valetkey.tools.openapi.schemas import Definitions, Schemas
from valetkey.tools.openapi.spec import Unusable
from valetkey.tools.openapi.validate import check
from valetkey.tools.tool import WaitsForPerson

MARGIN = 0.95
"""The part of a call's deadline that the service has, so that its lateness can be told."""

CONTEXT = "context"
"""The argument in which a service is told who calls; nobody who calls can give it."""

_GUESSED = frozenset({"type", "description"})
_OTHER = re.compile(r"[^A-Za-z0-9_]")
_log = logging.getLogger("valetkey")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTool:
    """A function that another program offers, or this one.

    It is called as whoever the road identified, and what the service asks of their accounts it is lent on the way:
    nothing of it is among the arguments.

    Attributes:
        service: by what it is found: ``workspace/id``, or its full id.
        path: of the function, by name.
        services: the way there, at the moment of a call.
        taken: what the function was when the tool was made of it, and who offered it.
    """

    name: str
    description: str
    schema: Mapping[str, Any] = field(repr=False)
    service: str
    path: tuple[str, ...]
    services: Callable[[], ServiceCalls] = field(repr=False)
    taken: str = field(repr=False)
    deadline: float = DEADLINE
    needs: Needs = PUBLIC
    _quick: Quick = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_quick", Quick(self.schema))

    def bind(self, arguments: Mapping[str, object]) -> Mapping[str, object]:
        """The arguments, where they fit the schema.

        Raises:
            InvalidArguments: they do not, or one of them would say who calls.
        """
        if not self._quick.sure(arguments):
            check(self.name, arguments, self.schema)
        if CONTEXT in arguments:
            raise InvalidArguments(f"{self.name}: {CONTEXT} says who calls, and is filled by the server. Leave it out.")
        if _refers(arguments):
            raise InvalidArguments(f"{self.name}: _rtype stands for a function of some program. Give plain values.")
        return dict(arguments)

    async def run(self, lent: Lent, arguments: Mapping[str, object]) -> object:
        """Call it as the road's caller.

        Raises:
            OperationFailed: the function raised, it did not answer in time, it is not there, or not for this caller,
                or it is not what it was.
            WaitsForPerson: it asks for an account of the caller's, and a person has to connect or lend it first.
        """
        allowed = lent.connected.allowed
        seconds = min(self.deadline, allowed.call.deadline)
        try:
            services = self.services()
            found = await services.find(self.service, allowed.caller)
            self._check(found)
            # By its full id: whoever was looked at is called, and no other of that name.
            return await services.call(found.full_id, self.path, arguments, allowed.caller, deadline=seconds * MARGIN)
        except (AuthRequired, ApprovalRequired) as required:
            raise WaitsForPerson(required) from None
        except NotFound:
            text = f"The service {self.service} is not there: nobody offers it now. Try again later."
            raise OperationFailed(text) from None
        except Denied as error:
            text = f"The service {self.service} is not for whoever calls here: {error}"
            raise OperationFailed(text) from None
        except TimeoutError:
            done = "It may have been carried out: look before you repeat it."
            raise OperationFailed(f"Request timeout: no answer within {seconds:g} s. {done}") from None
        except (ServiceFailed, ValetkeyError) as error:
            raise OperationFailed(str(error) or type(error).__name__) from None

    def _check(self, found: Registered) -> None:
        if mark_of(found, self.path) != self.taken:
            raise OperationFailed(
                f"{'.'.join(self.path)} of the service {self.service} is not what it was when it was taken as a tool:"
                " its description or its arguments have changed, or another program offers it now. Somebody has to"
                " look at it, and take it anew."
            )


def tools_of(
    found: Registered,
    *,
    service: str,
    services: Callable[[], ServiceCalls],
    only: Sequence[str] | None = None,
    deadline: float = DEADLINE,
) -> list[ServiceTool]:
    """The functions of a service as tools, by name.

    Args:
        found: the service, as it is now.
        service: by what it is found again at each call.
        services: the way there, at the moment of a call.
        only: these functions, nested ones with dots; None: all.
        deadline: seconds that each may run.

    Raises:
        InvalidArguments: it is an app, or a client's own; there is no function of a name in ``only``, or no schema can
            be made of its own.
    """
    if found.type == "asgi" or found.id == BUILT_IN:
        raise InvalidArguments(f"The service {service} offers no functions to call: its type is {found.type}.")
    if only is not None and (isinstance(only, str) or not all(isinstance(each, str) for each in only)):
        raise InvalidArguments("only takes a list of names of functions, such as only=['hello'].")
    there = {".".join(path): path for path, _ in functions_of(found.schema)}
    for name in only or ():
        if name not in there:
            raise InvalidArguments(
                f"The service {service} has no function {name!r}.{nearest(name, there)}"
                f" It has: {', '.join(there) or 'none'}."
            )
    made: dict[str, ServiceTool] = {}
    for name in there if only is None else dict.fromkeys(only):
        try:
            tool = _tool(found, there[name], service=service, services=services, deadline=deadline, taken=made)
        except (Unusable, RecursionError) as error:
            why = str(error) if isinstance(error, Unusable) else "its schema is nested too deeply"
            text = f"{name} of the service {service} is no tool: {why}"
            if only is not None:
                raise InvalidArguments(f"{text}. Correct its schema there.") from None
            _log.warning("%s", text)
            continue
        made[tool.name] = tool
    return list(made.values())


def _refers(value: object) -> bool:
    """Whether it holds what the RPC of the other side takes for more than a value; it is JSON, and not deep."""
    if isinstance(value, Mapping):
        return "_rtype" in value or any(map(_refers, value.values()))
    return isinstance(value, list) and any(map(_refers, value))


def mark_of(found: Registered, path: Sequence[str]) -> str:
    """What stands for a function as it is now, and for who offers it; empty: there is none of that name."""
    schema = schema_at(found.schema, path)
    if schema is None:
        return ""
    facts = [found.registrant, found.type, list(path), schema]
    return sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def _tool(
    found: Registered,
    path: tuple[str, ...],
    *,
    service: str,
    services: Callable[[], ServiceCalls],
    deadline: float,
    taken: Mapping[str, object],
) -> ServiceTool:
    schema = schema_at(found.schema, path) or {}
    whole = f"{service} {'.'.join(path)}"
    name = _OTHER.sub("_", "_".join([found.id, *path]))
    name = shortened(f"service_{name}" if not name[0].isalpha() else name, whole)
    end = f" (service {one_line(service, 200)})"
    text = one_line(schema.get("description"), 100_000) or one_line(found.description, 100_000) or ".".join(path)
    return ServiceTool(
        name=distinct(name, whole, taken),
        description=one_line(text.rstrip(". "), LONGEST_DESCRIPTION - len(end) - 1) + "." + end,
        schema=arguments_of(schema.get("parameters")),
        service=service,
        path=path,
        services=services,
        taken=mark_of(found, path),
        deadline=deadline,
    )


def _known(schema: Any) -> Any:
    """What is known of a parameter.

    Where nobody wrote a schema, clients' libraries say "string" of every parameter whose annotation they do not know,
    those of modules with ``from __future__ import annotations`` among them: that says nothing.
    """
    if isinstance(schema, Mapping) and schema.keys() == _GUESSED and schema["type"] == "string":
        return {"description": schema["description"]}
    return schema


def arguments_of(parameters: object) -> dict[str, Any]:
    """The schema of a function's arguments, without the one that says who calls. One that says nothing takes all.

    Raises:
        Unusable: it refers to nothing, or is no schema.
        RecursionError: it is nested too deeply.
    """
    given = parameters if isinstance(parameters, Mapping) else {}
    properties = given.get("properties")
    if not isinstance(properties, Mapping):
        return {"type": "object", "properties": {}, "additionalProperties": True}
    definitions = Definitions({**given, "openapi": "3.1.0"})
    reading = Schemas(definitions)
    named = {str(name): _known(each) for name, each in properties.items() if name != CONTEXT}
    required = given.get("required")
    made: dict[str, Any] = {
        "type": "object",
        "properties": {name: reading.translated(each) for name, each in named.items()},
        "required": [name for name in required if name in named] if isinstance(required, list) else [],
        "additionalProperties": given.get("additionalProperties") is True,
    }
    if reading.named:
        made["$defs"] = definitions.gathered(reading.named)
    return made
