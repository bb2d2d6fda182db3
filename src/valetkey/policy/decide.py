"""The only maker of an Allowed."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from valetkey.audit import Audit, kept
from valetkey.errors import ApprovalRequired, CouldNotTell, Denied, InvalidArguments, RateLimited, ValetkeyError
from valetkey.model.audit import Action, Entry
from valetkey.model.caller import Caller
from valetkey.model.calls import Allowed, Call
from valetkey.model.needs import Need
from valetkey.model.stops import StopKind
from valetkey.policy.rules import (
    BUILT_IN,
    Allow,
    Ask,
    ChatOperations,
    Deny,
    MarkedOperations,
    OwnConnections,
    OwnPocket,
    PermissionOf,
    Question,
    Rule,
    WrittenRule,
)

if TYPE_CHECKING:
    from valetkey.policy.approvals import Approvals
    from valetkey.stops import Stops

BLOCK = "block"
"""What stands for the rule where somebody or something is blocked."""

_OF_CALLS = frozenset({OwnPocket, ChatOperations, MarkedOperations})
"""They have no opinion on the use of an account, as ``OwnConnections`` has none on a call."""

_NONE: frozenset[str] = frozenset()
_log = logging.getLogger("valetkey")


class Oversight:
    """What watches over the calls of a system; whoever opens a server over the system puts it in place, for all of it.

    Attributes:
        approvals: asks people; None: a rule that asks refuses.
        stops: who and what is blocked; None where nobody can be: one user, one process.
        permission_of: needed where a rule names workspaces.
    """

    def __init__(self) -> None:
        self.stops: Stops | None = None
        self.approvals: Approvals | None = None
        self.permission_of: PermissionOf | None = None

    def watch(
        self, *, stops: Stops | None, approvals: Approvals | None = None, permission_of: PermissionOf | None = None
    ) -> None:
        """From now on."""
        self.stops, self.approvals, self.permission_of = stops, approvals, permission_of


class Policy:
    """Asks every rule. Deny beats ask, ask beats allow, and no rule that fits means refused.

    Args:
        rules: in the order in which they are named; the order decides nothing else.
        oversight: shared by all policies of a system; else made of ``approvals``, ``stops`` and ``permission_of``.
        audit: takes every decision.
        provider_of: the provider of a need, however the need names it; by default as it says itself.
    """

    def __init__(
        self,
        rules: Sequence[Rule] = BUILT_IN,
        *,
        approvals: Approvals | None = None,
        stops: Stops | None = None,
        audit: Audit | None = None,
        permission_of: PermissionOf | None = None,
        provider_of: Callable[[Need], str] | None = None,
        oversight: Oversight | None = None,
    ) -> None:
        if oversight is None:
            oversight = Oversight()
            oversight.watch(stops=stops, approvals=approvals, permission_of=permission_of)
        self.rules = tuple(rules)
        self._of_calls = tuple(rule for rule in self.rules if type(rule) is not OwnConnections)
        self._of_needs = tuple(rule for rule in self.rules if type(rule) not in _OF_CALLS)
        # Alone it says yes to every need that the tool declares, and those are all that is asked about.
        self._lets_use_all = {type(rule) for rule in self._of_needs} == {OwnConnections}
        self._over = oversight
        self._audit = audit
        self._provider_of = provider_of or (lambda need: need.provider)
        written = [rule for rule in self.rules if isinstance(rule, WrittenRule)]
        self._by_provider = any(rule.providers for rule in written)
        self._permissions = sorted({each for rule in written for each in rule.workspaces})

    async def decide(self, caller: Caller, call: Call) -> Allowed:
        """Let the call on.

        Raises:
            Denied: a rule says no, none says yes, a rule failed, or somebody or something is blocked.
            ApprovalRequired: a person has to say yes first; call again after that.
            InvalidArguments: a person has to see the arguments, and cannot.
            RateLimited: too many questions of this caller wait for a person.
            CouldNotTell: it cannot be told now: the database does not answer.
        """
        rule = ""
        try:
            rule, asked = await self._judged(caller, call)
            if asked is not None:
                await self._approved(caller, call, rule, asked)
            self._tell(caller, call, "ok", rule)
        except _Refused as refused:
            self._tell_safely(caller, call, "denied", refused.rule)
            raise Denied(refused.message) from None
        except ApprovalRequired:
            self._tell_safely(caller, call, "asked", rule)
            raise
        except (RateLimited, Denied, InvalidArguments):
            self._tell_safely(caller, call, "denied", rule)
            raise
        except ValetkeyError as error:
            self._tell_safely(caller, call, "could_not_tell", rule)
            raise CouldNotTell(f"Whether this call is allowed cannot be told now: {error}") from error
        except Exception as error:  # noqa: BLE001 - as the next line says
            # Whatever broke, and whoever wrote it: no call goes through because of it. Its text may hold anything.
            _log.error("deciding on a call failed with %s", type(error).__name__)
            self._tell_safely(caller, call, "failed", rule)
            raise Denied("This call could not be decided on, and is refused. Ask who runs this program.") from None
        return Allowed(caller=caller, call=call, rule=rule)

    async def _judged(self, caller: Caller, call: Call) -> tuple[str, Ask | None]:
        if self._over.stops is not None:
            await self._refuse_blocked(self._over.stops, caller, call)
        permitted = await self._permitted(caller) if self._permissions else _NONE
        needs = [need for alternative in call.needs.alternatives for need in alternative]
        providers = frozenset(self._provider_of(need) for need in needs) if self._by_provider else _NONE
        rule, asked = self._ask(
            Question(caller=caller, call=call, action="call", providers=providers, permitted=permitted)
        )
        for need in () if self._lets_use_all else needs:
            of_need = frozenset({self._provider_of(need)}) if self._by_provider else providers
            question = Question(
                caller=caller, call=call, action="use", need=need, providers=of_need, permitted=permitted
            )
            by, again = self._ask(question)
            if asked is None and again is not None:
                rule, asked = by, again
        return rule, asked

    async def _approved(self, caller: Caller, call: Call, rule: str, asked: Ask) -> None:
        approvals = self._over.approvals
        if approvals is None:
            raise _Refused(rule, f"The rule {rule} asks a person, and nobody can be asked here: {asked.reason}")
        if not await approvals.spend(caller, call):
            await approvals.ask(caller, call, asked.reason)

    def _ask(self, question: Question) -> tuple[str, Ask | None]:
        allowed_by, asked_by, asked = "", "", None
        for rule in self._of_calls if question.action == "call" else self._of_needs:
            verdict = rule.judge(question)
            if verdict is None:
                continue
            if isinstance(verdict, Allow):
                allowed_by = allowed_by or rule.name
            elif isinstance(verdict, Deny):
                raise _Refused(rule.name, f"Not allowed by the rule {rule.name}: {verdict.reason}")
            elif isinstance(verdict, Ask):
                asked_by, asked = asked_by or rule.name, asked or verdict
            else:
                raise TypeError(f"the rule {rule.name} answered {type(verdict).__name__}")
        if not allowed_by and asked is None:
            what = "call the tool" if question.need is None else f"use a {question.need.provider} account for the tool"
            raise _Refused(
                "", f"No rule lets this caller {what} {question.call.tool}. Everything is refused until one does."
            )
        return asked_by or allowed_by, asked

    async def _refuse_blocked(self, stops: Stops, caller: Caller, call: Call) -> None:
        await stops.fresh()
        stopped = stops.why(StopKind.TOOL, call.tool) or stops.against(caller)
        if stopped is not None:
            raise _Refused(BLOCK, f"This {stopped.kind.value} is blocked here. Ask who runs this server.")

    async def _permitted(self, caller: Caller) -> frozenset[str]:
        from valetkey.model.users import UserPermission, includes  # noqa: PLC0415 - Pocket loads without it

        permission_of = self._over.permission_of
        if permission_of is None:
            return frozenset()
        permitted = set()
        for each in self._permissions:
            workspace, _, wanted = each.rpartition("#")
            held = permission_of(caller, workspace)
            if inspect.isawaitable(held):
                held = await held
            if includes(held, UserPermission(wanted)):
                permitted.add(each)
        return frozenset(permitted)

    def _tell(self, caller: Caller, call: Call, outcome: str, rule: str) -> None:
        audit = kept(self._audit)
        if audit is not None:
            audit.tell(
                Entry(
                    action=Action.CALL,
                    outcome=outcome,
                    workspace=caller.owner.workspace,
                    what=call.tool,
                    rule=rule,
                    details={"entrance": call.entrance},
                ).by(caller)
            )

    def _tell_safely(self, caller: Caller, call: Call, outcome: str, rule: str) -> None:
        with suppress(Exception):  # it is refused already; an audit log that fails must not hide why
            self._tell(caller, call, outcome, rule)


class _Refused(Exception):
    """A rule, or a block, says no."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule
        self.message = message
