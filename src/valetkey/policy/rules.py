"""Rules as frozen values: Allow, Deny(reason), Ask(reason); a rule that has no opinion says nothing."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Container, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from valetkey.model.caller import Caller
from valetkey.model.calls import Call
from valetkey.model.needs import Need

if TYPE_CHECKING:
    from valetkey.model.users import UserPermission

PermissionOf = Callable[[Caller, str], "Awaitable[UserPermission | None] | UserPermission | None"]
"""What a caller may do in a workspace; None: nothing. Identity's own answer, handed in."""

ENTRANCES = frozenset({"pocket", "chat", "http", "rpc", "mcp", "proxy"})
"""The ways in, as ``Call.entrance`` names them."""


class Effect(StrEnum):
    """What a rule answers where it fits. Deny beats ask, ask beats allow."""

    ALLOW = "allow"
    DENY = "deny"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class Allow:
    """Yes."""


@dataclass(frozen=True, slots=True)
class Deny:
    """No, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ask:
    """A person has to say yes to this one call first, and why."""

    reason: str


Verdict = Allow | Deny | Ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """May this caller do this? Either run the tool, or use an account for it.

    Attributes:
        providers: at which the tool may use accounts, where a rule asks for it; of one ``need``, that one's.
        permitted: of the ``workspace#permission`` that rules name, those that the caller has.
    """

    caller: Caller
    call: Call
    action: Literal["call", "use"]
    need: Need | None = None
    providers: frozenset[str] = frozenset()
    permitted: frozenset[str] = frozenset()


class Rule(Protocol):
    """One rule. What it says follows from the question alone."""

    @property
    def name(self) -> str:
        """What it is called in answers and in the audit log."""
        ...

    @property
    def text(self) -> str:
        """What it says, in a sentence."""
        ...

    def judge(self, question: Question) -> Verdict | None:
        """Yes, no, ask, or no opinion."""
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
            return _ALLOW
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
        return _ALLOW if declared else None


@dataclass(frozen=True, slots=True)
class ChatOperations:
    """Decision 32, the third rule.

    Attributes:
        operations: the tools that the chat offers at the moment, after ``allowed_paths`` and ``excluded_paths``.
    """

    operations: Container[str] = frozenset()
    name: ClassVar[str] = "chat-operations"
    text: ClassVar[str] = "A chat session may call the operations that allowed_paths leaves."

    def judge(self, question: Question) -> Verdict | None:
        """Yes for an operation that the chat offers, called through the chat."""
        call = question.call
        if question.action == "call" and call.entrance == "chat" and call.tool in self.operations:
            return _ALLOW
        return None


@dataclass(frozen=True, slots=True)
class MarkedOperations:
    """An operation may say of itself that a person has to approve each of its calls (``x-requires-approval``).

    Attributes:
        operations: those that are marked at the moment.
    """

    operations: Container[str] = frozenset()
    name: ClassVar[str] = "marked-operations"
    text: ClassVar[str] = "Asks a person before a call of an operation that is marked x-requires-approval."

    def judge(self, question: Question) -> Verdict | None:
        """Ask, for an operation that is marked, called through the chat."""
        call = question.call
        if question.action == "call" and call.entrance == "chat" and call.tool in self.operations:
            return _MARKED
        return None


BUILT_IN: tuple[Rule, ...] = (OwnPocket(), OwnConnections(), ChatOperations())


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenRule:
    """A rule of the settings. All kinds of conditions that it has must fit; of one kind, one of its values is enough.

    Attributes:
        name: unique among the rules.
        tools: names; ``*`` in one stands for any text.
        entrances: ways in.
        users: ids, or e-mail addresses in lower case; the programs that act for a user count as the user.
        roles: of the user.
        workspaces: ``workspace#permission``: the caller has at least that permission there.
        scopes: extra scopes of the token; those that its bearer named for themselves do not count.
        providers: at which the tool may use an account.
        reason: for people; empty: a sentence made of the conditions.
    """

    name: str
    effect: Effect
    tools: tuple[str, ...] = ()
    entrances: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    workspaces: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    reason: str = ""
    _verdict: Verdict = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        reason = self.reason or "it is written so in the settings"
        verdict: Mapping[Effect, Verdict] = {Effect.DENY: Deny(reason), Effect.ASK: Ask(reason)}
        object.__setattr__(self, "_verdict", verdict.get(self.effect, _ALLOW))

    @property
    def conditions(self) -> dict[str, list[str]]:
        """The conditions that it has, by kind."""
        return {kind: sorted(getattr(self, kind)) for kind in CONDITIONS if getattr(self, kind)}

    @property
    def text(self) -> str:
        """What it says, in a sentence."""
        said = {Effect.ALLOW: "Allows", Effect.DENY: "Refuses", Effect.ASK: "Asks a person before"}[self.effect]
        parts = [f"{CONDITIONS[kind]} {' or '.join(values)}" for kind, values in self.conditions.items()]
        why = f" ({self.reason})" if self.reason else ""
        return f"{said} a call {', '.join(parts)}{why}.".replace("of the tool *", "of any tool")

    def judge(self, question: Question) -> Verdict | None:
        """Its verdict, where every condition fits."""
        call, user = question.call, question.caller.user
        fits = (
            (not self.tools or any(_pattern(each).fullmatch(call.tool) for each in self.tools))
            and (not self.entrances or call.entrance in self.entrances)
            and (not self.users or not self.users.isdisjoint(names_of(question.caller)))
            and (not self.roles or (user is not None and not self.roles.isdisjoint(user.roles)))
            and (not self.workspaces or not self.workspaces.isdisjoint(question.permitted))
            and (not self.scopes or (user is not None and any(user.is_granted(each) for each in self.scopes)))
            and (not self.providers or not self.providers.isdisjoint(question.providers))
            # A token for one purpose does what its scope says: no rule that does not name that lets it on.
            and (self.effect is not Effect.ALLOW or self.scopes or user is None or not user.is_specialized_token())
        )
        return self._verdict if fits else None


CONDITIONS: dict[str, str] = {
    "tools": "of the tool",
    "entrances": "through",
    "users": "by",
    "roles": "by a user with the role",
    "workspaces": "by a user with the permission",
    "scopes": "with a token that has the scope",
    "providers": "with an account at",
}
"""The kinds of conditions, and how a sentence names each."""

_ALLOW = Allow()
_MARKED = Ask("this operation asks for a person's approval")


def names_of(caller: Caller) -> set[str]:
    """What a caller is called in lists of users: id and e-mail address, and the id of the user behind a program."""
    user = caller.user
    if user is None:
        return set(caller.owner.names)
    names = {user.id, user.get_effective_user_id()}
    if user.email and not user.is_anonymous:
        names.add(str(user.email).lower())
    return names


@lru_cache(maxsize=1024)
def _pattern(glob: str) -> re.Pattern[str]:
    """Only ``*`` is special: a tool's name may hold what other globs take for a class or a choice."""
    return re.compile(".*".join(re.escape(part) for part in glob.split("*")), re.DOTALL)


def shown(rule: Rule) -> dict[str, Any]:
    """A rule for people and programs: name, effect, source, conditions, text."""
    written = isinstance(rule, WrittenRule)
    return {
        "name": rule.name,
        "effect": rule.effect.value if isinstance(rule, WrittenRule) else Effect.ALLOW.value,
        "source": "settings" if written else "built-in",
        "conditions": rule.conditions if isinstance(rule, WrittenRule) else {},
        "text": rule.text,
    }
