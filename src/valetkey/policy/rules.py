"""Rules as frozen values: Allow, Deny(reason); a rule that has no opinion says nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from valetkey.model.caller import Caller
from valetkey.model.calls import Call
from valetkey.model.needs import Need


@dataclass(frozen=True, slots=True)
class Allow:
    """Yes."""


@dataclass(frozen=True, slots=True)
class Deny:
    """No, and why."""

    reason: str


Verdict = Allow | Deny


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """May this caller do this? Either run the tool, or use an account for it."""

    caller: Caller
    call: Call
    action: Literal["call", "use"]
    need: Need | None = None


class Rule(Protocol):
    """One rule."""

    name: ClassVar[str]
    text: ClassVar[str]

    def judge(self, question: Question) -> Verdict | None:
        """Yes, no, or no opinion."""
        ...


@dataclass(frozen=True, slots=True)
class OwnPocket:
    """Decision 32, the first rule."""

    name: ClassVar[str] = "own-pocket"
    text: ClassVar[str] = "A host program may call the tools it put into its own Pocket."

    def judge(self, question: Question) -> Verdict | None:
        """Yes for a tool of the Pocket, called by the program that holds it."""
        call, caller = question.call, question.caller
        if question.action == "call" and call.entrance == "pocket" and caller.how == "host":
            return Allow()
        return None


@dataclass(frozen=True, slots=True)
class OwnConnections:
    """Decision 32, the second rule."""

    name: ClassVar[str] = "own-connections"
    text: ClassVar[str] = "A caller may use their own connections for the scopes that a tool declares."

    def judge(self, question: Question) -> Verdict | None:
        """Yes for a need that the tool declares; connections are looked for under the caller's own name only."""
        if question.action != "use" or question.need is None:
            return None
        declared = any(question.need in needs for needs in question.call.needs.alternatives)
        return Allow() if declared else None


BUILT_IN: tuple[Rule, ...] = (OwnPocket(), OwnConnections())
