"""Rules: deny beats ask beats allow, no rule means refused, and whatever fails lets nobody through."""

from typing import Any

import pytest

from tests.policy.kit import SLACK, Desk, Told, call, caller, host
from valetkey.errors import ApprovalRequired, CouldNotTell, Denied, StoreUnavailable
from valetkey.model.audit import Action
from valetkey.model.needs import Need, Needs
from valetkey.model.users import UserPermission
from valetkey.policy.decide import Policy
from valetkey.policy.rules import (
    BUILT_IN,
    ChatOperations,
    Deny,
    Effect,
    OwnPocket,
    Question,
    Rule,
    Verdict,
    WrittenRule,
    shown,
)
from valetkey.testing.clock import ManualClock


def written(effect: str, name: str = "", **conditions: Any) -> WrittenRule:
    return WrittenRule(name=name or effect, effect=Effect(effect), **conditions)


def policy(*rules: Rule, **more: Any) -> Policy:
    return Policy((*BUILT_IN, *rules), **more)


ALLOW, DENY, ASK = (written(effect, tools=("*",)) for effect in ("allow", "deny", "ask"))


class Broken:
    """A rule of a host program that fails."""

    name = "broken"
    text = "fails"

    def judge(self, question: Question) -> Verdict | None:
        raise RuntimeError("secret-canary")


class Odd(Broken):
    """One that answers what is no verdict."""

    name = "odd"

    def judge(self, question: Question) -> Verdict | None:
        return True  # type: ignore[return-value]


async def test_what_no_rule_allows_is_refused():
    with pytest.raises(Denied, match="No rule lets this caller call the tool post"):
        await policy().decide(caller(), call())


async def test_a_rule_that_allows_lets_on_and_is_named():
    decided = await policy(written("allow", "mine", tools=("post",))).decide(caller(), call(needs=SLACK))
    assert decided.rule == "mine"


@pytest.mark.requirement("C7.rules")
@pytest.mark.parametrize("rules", [(ALLOW, DENY, ASK), (DENY, ASK, ALLOW), (ASK, ALLOW, DENY)])
async def test_a_denial_beats_all_whatever_the_order(rules):
    with pytest.raises(Denied, match="Not allowed by the rule deny: it is written so"):
        await policy(*rules, approvals=Desk(ManualClock()).approvals).decide(caller(), call())


@pytest.mark.requirement("C7.rules")
@pytest.mark.parametrize("rules", [(ALLOW, ASK), (ASK, ALLOW), (ASK,)])
async def test_a_question_beats_an_allowance(rules):
    with pytest.raises(ApprovalRequired):
        await policy(*rules, approvals=Desk(ManualClock()).approvals).decide(caller(), call())


async def test_where_nobody_can_be_asked_a_rule_that_asks_refuses():
    with pytest.raises(Denied, match="The rule ask asks a person, and nobody can be asked here"):
        await policy(ASK).decide(host(), call(entrance="pocket"))


async def test_a_rule_against_one_account_stops_the_call():
    rules = policy(ALLOW, written("deny", "no-slack", providers=frozenset({"slack"})))
    await rules.decide(caller(), call())
    with pytest.raises(Denied, match="no-slack"):
        await rules.decide(caller(), call(needs=SLACK))


class Stern(Broken):
    """One that refuses an account, and not the call."""

    name = "stern"

    def judge(self, question: Question) -> Verdict | None:
        return Deny("not this one") if question.need == Need(provider="slack") else None


async def test_each_account_is_asked_about_where_any_other_rule_may_speak_of_it():
    with pytest.raises(Denied, match="Not allowed by the rule stern: not this one"):
        await policy(Stern()).decide(host(), call(entrance="pocket", needs=SLACK))
    with pytest.raises(Denied, match="No rule lets this caller use a slack account"):
        await Policy([OwnPocket()]).decide(host(), call(entrance="pocket", needs=SLACK))
    assert (await policy().decide(host(), call(entrance="pocket", needs=SLACK))).rule == "own-pocket"


async def test_a_need_that_names_its_handler_only_is_of_its_provider_all_the_same():
    by_handler = Needs(((Need(provider="", handler="slack-oauth2"),),))
    rule = written("deny", "no-slack", providers=frozenset({"slack"}))
    rules = policy(ALLOW, rule, provider_of=lambda need: (need.handler or need.provider).partition("-")[0])
    with pytest.raises(Denied, match="no-slack"):
        await rules.decide(caller(), call(needs=by_handler))


FITS = [
    ({"tools": ("p*t",)}, {"tool": "port.sets"}, False),
    ({"tools": ("p*t",)}, {"tool": "p\nost"}, True),
    ({"tools": ("p[o]st",)}, {}, False),
    ({"tools": ("a", "post")}, {}, True),
    ({"tools": ("po",)}, {}, False),
    ({"entrances": frozenset({"http"})}, {}, True),
    ({"entrances": frozenset({"rpc"})}, {}, False),
    ({"users": frozenset({"ann"})}, {}, True),
    ({"users": frozenset({"an"})}, {}, False),
    ({"users": frozenset({"ann@example.com"})}, {"email": "Ann@example.com"}, True),
    ({"users": frozenset({"ann"})}, {"name": "robot", "parent": "ann"}, True),
    ({"roles": frozenset({"ops"})}, {"roles": ["dev", "ops"]}, True),
    ({"roles": frozenset({"ops"})}, {"roles": ["OPS"]}, False),
    ({"scopes": frozenset({"tool:post"})}, {"scopes": ("tool:post",)}, True),
    ({"scopes": frozenset({"tool:post"})}, {"scopes": ("tool:pos",)}, False),
    ({"tools": ("post",), "roles": frozenset({"ops"})}, {"roles": []}, False),
    ({"tools": ("other",), "roles": frozenset({"ops"})}, {"roles": ["ops"]}, False),
    ({"tools": ("post",), "roles": frozenset({"ops"})}, {"roles": ["ops"]}, True),
]


@pytest.mark.requirement("C7.rules")
@pytest.mark.parametrize(("conditions", "asked", "fits"), FITS)
async def test_a_rule_fits_where_every_kind_of_its_conditions_does(conditions, asked, fits):
    about = {**asked}
    tool, name = about.pop("tool", "post"), about.pop("name", "ann")
    who, what = caller(name, **about), call(tool)
    if fits:
        assert (await policy(written("allow", **conditions)).decide(who, what)).rule == "allow"
    else:
        with pytest.raises(Denied):
            await policy(written("allow", **conditions)).decide(who, what)


@pytest.mark.parametrize("kind", ["roles", "scopes", "users"])
async def test_whom_only_the_host_program_names_has_no_role_scope_or_other_name(kind):
    conditions: dict[str, Any] = {kind: frozenset({"admin"})}
    with pytest.raises(Denied):
        await policy(written("allow", **conditions)).decide(host(), call())


@pytest.mark.requirement("C7.rules")
@pytest.mark.parametrize(
    ("held", "wanted", "fits"), [("a", "rw", True), ("rw", "rw", True), ("r", "rw", False), (None, "r", False)]
)
@pytest.mark.parametrize("waits", [True, False])
async def test_a_permission_in_a_workspace_is_asked_for_and_includes_the_weaker_ones(held, wanted, fits, waits):
    permission = None if held is None else UserPermission(held)
    asked = []

    async def later(who, workspace):
        asked.append(workspace)
        return permission

    def at_once(who, workspace):
        asked.append(workspace)
        return permission

    rule = written("allow", workspaces=frozenset({f"ws-a#{wanted}"}))
    rules = policy(rule, permission_of=later if waits else at_once)
    if fits:
        await rules.decide(caller(), call())
    else:
        with pytest.raises(Denied):
            await rules.decide(caller(), call())
    assert asked == ["ws-a"]


async def test_the_chat_may_call_what_it_offers_and_nothing_else():
    rules = Policy((ChatOperations(frozenset({"read"})),))
    assert (await rules.decide(caller(), call("read", entrance="chat"))).rule == "chat-operations"
    for tool, entrance in (("read", "http"), ("write", "chat")):
        with pytest.raises(Denied):
            await rules.decide(caller(), call(tool, entrance=entrance))


def test_the_three_built_in_rules_are_shown_with_their_text():
    assert [shown(rule)["name"] for rule in BUILT_IN] == ["own-pocket", "own-connections", "chat-operations"]
    assert all(shown(rule)["source"] == "built-in" for rule in BUILT_IN)


def test_a_written_rule_is_shown_as_a_sentence():
    rule = written("ask", "pay", tools=("pay_*",), roles=frozenset({"dev"}), reason="money leaves")
    assert rule.text == "Asks a person before a call of the tool pay_*, by a user with the role dev (money leaves)."


class TestFailing:
    """E-04: whatever breaks, no call goes through."""

    @pytest.mark.requirement("E-04")
    @pytest.mark.parametrize("rule", [Broken(), Odd()])
    async def test_a_rule_that_fails_refuses_and_its_text_is_told_to_nobody(self, rule, caplog):
        audit = Told()
        with pytest.raises(Denied) as refused:
            await policy(ALLOW, rule, audit=audit).decide(caller(), call())
        assert audit.of(Action.CALL) == [("failed", "")]
        assert "canary" not in f"{refused.value}{refused.value.__cause__}{caplog.text}"

    @pytest.mark.requirement("E-04")
    async def test_an_audit_log_that_fails_refuses(self):
        audit = Told()
        audit.error = RuntimeError("no audit")
        rules = policy(ALLOW, audit=audit)
        with pytest.raises(Denied):
            await rules.decide(caller(), call())

    async def test_an_audit_log_that_fails_does_not_hide_why_a_call_is_refused(self):
        audit = Told()
        audit.error = RuntimeError("no audit")
        with pytest.raises(Denied, match="rule deny"):
            await policy(DENY, audit=audit).decide(caller(), call())

    @pytest.mark.requirement("E-04")
    async def test_where_a_permission_cannot_be_had_it_cannot_be_told(self):
        def away(who, workspace):
            raise StoreUnavailable("The database is away.")

        audit = Told()
        rules = policy(ALLOW, written("deny", workspaces=frozenset({"a#r"})), permission_of=away, audit=audit)
        with pytest.raises(CouldNotTell):
            await rules.decide(caller(), call())
        assert audit.of(Action.CALL) == [("could_not_tell", "")]


class TestAudited:
    """E-03: every decision, with who, where, what and the rule's name."""

    @pytest.mark.requirement("E-03")
    async def test_every_decision_is_in_the_audit_log_with_its_rule(self):
        audit = Told()
        asking = Desk(ManualClock()).approvals
        await policy(ALLOW, audit=audit).decide(caller(workspace="ws-a"), call(secret="s3cret"))
        for rules in (policy(DENY, audit=audit), policy(audit=audit), policy(ASK, audit=audit, approvals=asking)):
            with pytest.raises((Denied, ApprovalRequired)):
                await rules.decide(caller(), call())
        assert audit.of(Action.CALL) == [("ok", "allow"), ("denied", "deny"), ("denied", ""), ("asked", "ask")]
        first = audit.entries[0]
        assert (first.issuer, first.subject, first.user) == ("valetkey", "ann", "ann")
        assert (first.workspace, first.what, first.details["entrance"]) == ("ws-a", "post", "http")
        assert "s3cret" not in repr(audit.entries)


async def test_a_token_for_one_purpose_is_let_on_only_by_a_rule_that_names_its_scope():
    special = caller(scopes=("files:read",), roles=["operator"])
    for rule in (ALLOW, written("allow", roles=frozenset({"operator"})), written("allow", users=frozenset({"ann"}))):
        with pytest.raises(Denied, match="No rule lets this caller"):
            await policy(rule).decide(special, call())
    named = written("allow", tools=("post",), scopes=frozenset({"files:read"}))
    assert (await policy(named).decide(special, call())).rule == "allow"
    with pytest.raises(Denied, match="Not allowed by the rule deny"):
        await policy(named, DENY).decide(special, call())


@pytest.mark.parametrize("entrance", ["http", "pocket"])
async def test_a_rule_that_asks_asks_for_a_token_for_one_purpose_too(entrance):
    named = written("allow", tools=("post",), scopes=frozenset({"files:read"}))
    special = caller(scopes=("files:read",), how="host" if entrance == "pocket" else "bearer")
    with pytest.raises(Denied, match="asks a person"):
        await policy(named, ASK).decide(special, call(entrance=entrance))
