"""Tool: name, description, schema, needs, run. ToolAuth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from valetkey.errors import ApprovalRequired, AuthRequired
from valetkey.model.calls import Lent
from valetkey.model.needs import Needs
from valetkey.providers.names import AuthProvider


@runtime_checkable
class Tool(Protocol):
    """Something a model can call. There are several kinds; the road knows only this."""

    @property
    def name(self) -> str:
        """Unique in its Pocket."""
        ...

    @property
    def description(self) -> str:
        """What a model is told of it."""
        ...

    @property
    def schema(self) -> Mapping[str, Any]:
        """JSON schema of its arguments; holds no credential and no ``thread_id``."""
        ...

    @property
    def needs(self) -> Needs:
        """The accounts it asks for."""
        ...

    @property
    def deadline(self) -> float:
        """Seconds that it may run."""
        ...

    def bind(self, arguments: Mapping[str, object]) -> Mapping[str, object]:
        """The arguments as its code takes them.

        Raises:
            InvalidArguments: they do not fit.
        """
        ...

    async def run(self, lent: Lent, arguments: Mapping[str, object]) -> object:
        """Run it, with bound arguments; whatever its code raises comes through.

        Raises:
            WaitsForPerson: a person has to answer first.
        """
        ...


class WaitsForPerson(Exception):
    """A tool that lends by itself cannot run before a person has answered: whoever called it is told, not the model.

    Attributes:
        required: what is asked, with its link.
    """

    def __init__(self, required: AuthRequired | ApprovalRequired) -> None:
        super().__init__(required.message)
        self.required = required


Postprocessing = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class ToolAuth:
    """The account that a tool needs, as seed 000 spells it.

    Attributes:
        scopes: what it must be allowed to do.
        auth_provider: where; None where the handler's name says it.
        auth_handler: how; None for the provider's default.
    """

    scopes: Sequence[str] | None = None
    auth_provider: AuthProvider | None = None
    auth_handler: str | None = None
