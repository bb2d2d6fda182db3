"""The only maker of an Allowed."""

from __future__ import annotations

from collections.abc import Sequence

from valetkey.errors import Denied
from valetkey.model.caller import Caller
from valetkey.model.calls import Allowed, Call
from valetkey.policy.rules import BUILT_IN, Allow, Deny, Question, Rule


class Policy:
    """Asks every rule. One that denies decides; no rule that allows means refused."""

    def __init__(self, rules: Sequence[Rule] = BUILT_IN) -> None:
        self._rules = tuple(rules)

    def decide(self, caller: Caller, call: Call) -> Allowed:
        """Let the call on.

        Raises:
            Denied: a rule says no, or none says yes.
        """
        rule = self._ask(Question(caller=caller, call=call, action="call"))
        for needs in call.needs.alternatives:
            for need in needs:
                self._ask(Question(caller=caller, call=call, action="use", need=need))
        return Allowed(caller=caller, call=call, rule=rule)

    def _ask(self, question: Question) -> str:
        allowed_by = ""
        for rule in self._rules:
            verdict = rule.judge(question)
            if isinstance(verdict, Deny):
                raise Denied(f"Not allowed by the rule {rule.name}: {verdict.reason}")
            if isinstance(verdict, Allow):
                allowed_by = allowed_by or rule.name
        if not allowed_by:
            what = "call the tool" if question.need is None else f"use a {question.need.provider} account for the tool"
            raise Denied(f"No rule lets this caller {what} {question.call.tool}. Everything is refused until one does.")
        return allowed_by
