"""Users, permissions and scopes, as seed 004 and the contract spell them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from valetkey.model.users import (
    ScopeInfo,
    TokenConfig,
    UserInfo,
    UserPermission,
    UserTokenInfo,
    create_scope,
    generate_jwt_scope,
    parse_scope,
)
from valetkey.model.workspaces import WorkspaceInfo


def alice(**given: object) -> UserInfo:
    return UserInfo.model_validate({"id": "user-1", "roles": [], **given})


@pytest.mark.requirement("C1.users")
def test_a_user_needs_no_word_about_being_anonymous():
    assert UserInfo(id="api_user_1", roles=["read"]).is_anonymous is False


@pytest.mark.requirement("C1.users")
@pytest.mark.parametrize("wrong", [{"id": ""}, {"id": "x" * 257}, {"email": "no address"}, {"roles": "admin"}])
def test_what_is_no_user_is_refused(wrong):
    with pytest.raises(ValidationError):
        alice(**wrong)


@pytest.mark.requirement("C1.users")
@pytest.mark.parametrize(
    ("held", "asked", "yes"),
    [
        ("a", "rw", True),
        ("rw", "r", True),
        ("r", "rw", False),
        ("rw", "a", False),
        (None, "r", False),
    ],
)
def test_each_permission_includes_those_before_it(held, asked, yes):
    user = alice(scope=create_scope({"ws-a": held} if held else {}))
    assert user.check_permission("ws-a", UserPermission(asked)) is yes
    assert user.check_permission("ws-b", UserPermission("r")) is False


def test_the_star_stands_for_every_workspace_and_the_stronger_of_two_counts():
    user = alice(scope=create_scope({"*": "r", "ws-a": "a"}))
    assert user.get_permission("ws-a") is UserPermission.admin
    assert user.get_permission("anything") is UserPermission.read


def test_a_scope_can_be_written_as_text():
    assert create_scope("ws-a#a, ws-b#r").workspaces == {"ws-a": UserPermission.admin, "ws-b": UserPermission.read}
    with pytest.raises(AssertionError):
        create_scope(None)
    with pytest.raises(ValueError, match="ws-a"):
        create_scope("ws-a")


def test_the_claim_scope_says_workspaces_client_current_workspace_and_the_rest():
    scope = create_scope({"ws-user-user-1": "a"}, client_id="c1", current_workspace="ws-user-user-1")
    assert generate_jwt_scope(scope) == "ws:ws-user-user-1#a cid:c1 wid:ws-user-user-1"


names = st.text(st.characters(categories=["Ll", "Nd"], include_characters="-|_#:"), min_size=1, max_size=12)


@pytest.mark.requirement("C1.users")
@given(
    workspaces=st.dictionaries(names, st.sampled_from(UserPermission), max_size=3),
    extra=st.lists(names.map(lambda name: f"files:{name}"), max_size=3),
)
def test_a_scope_survives_its_claim(workspaces, extra):
    scope = ScopeInfo(workspaces=workspaces, extra_scopes=extra)
    assert parse_scope(generate_jwt_scope(scope)) == scope


@pytest.mark.parametrize("extra", ["ws:other#a", "wid:other", "cid:x", "two words", "", "tab\there", "nbsp\u00a0x"])
def test_no_extra_scope_can_pass_for_another_part(extra):
    with pytest.raises(ValueError, match="scope"):
        generate_jwt_scope(ScopeInfo(extra_scopes=[extra]))


@pytest.mark.parametrize("claim", ["ws:a", "ws:#r", "ws:a#x", "cid:a cid:b", "wid:a wid:b", "wid:"])
def test_a_claim_that_says_two_things_or_nothing_is_refused(claim):
    with pytest.raises(ValueError, match=r"scope|UserPermission"):
        parse_scope(claim)


def test_an_extra_scope_with_a_colon_makes_a_token_special():
    user = alice(scope=ScopeInfo(extra_scopes=["files:read", "plain"]))
    assert user.is_specialized_token()
    assert user.scope is not None
    assert user.scope.get_specialized_scopes() == ["files:read"]
    assert user.scope.get_scope_with_prefix("files:") == "files:read"
    assert user.scope.has_scope_prefix("mail:") is False
    with pytest.raises(PermissionError, match=r"\['files:read'\] cannot be used for general workspace access"):
        user.validate_for_general_access()
    user.validate_scope("files:read")
    with pytest.raises(PermissionError, match="files:write"):
        user.validate_scope("files:write")


@pytest.mark.requirement("C1.users")
def test_a_users_own_workspace_and_the_user_behind_a_program():
    program = alice(id="random", parent="user-1")
    assert program.get_workspace() == "ws-user-random"
    assert program.get_effective_user_id() == "user-1"
    assert alice().get_effective_user_id() == "user-1"


def test_a_context_names_its_user_and_workspace():
    user = UserInfo.from_context({"user": alice().model_dump(), "ws": "ws-a"})
    assert (user.id, user.current_workspace) == ("user-1", "ws-a")


def test_what_is_noted_about_a_user_is_no_part_of_the_user():
    user = alice()
    user.set_metadata("seen", 3)
    assert user.get_metadata("seen") == 3
    assert user.get_metadata() == {"seen": 3}
    assert "seen" not in user.model_dump_json()


@pytest.mark.requirement("C1.workspaces")
def test_a_workspace_belongs_to_its_owners_by_id_or_address_and_to_its_user():
    shared = WorkspaceInfo(id="ws-team-a", name="ws-team-a", owners=["user-1", "b@example.com"])
    assert shared.owned_by(alice())
    assert shared.owned_by(alice(id="other", email="b@example.com"))
    assert shared.owned_by(alice(id="random", parent="user-1"))
    assert not shared.owned_by(alice(id="other"))
    assert WorkspaceInfo(id="ws-user-user-1", name="ws-user-user-1").owned_by(alice())


@pytest.mark.requirement("C1.users")
def test_what_a_login_ends_with_does_not_print_its_token():
    info = UserTokenInfo(token="canary-token", name="A")
    assert "canary-token" not in repr(info)
    with pytest.raises(ValidationError):
        UserTokenInfo(token="x" * 4097)


@pytest.mark.parametrize("wrong", [{"expires_in": 0}, {"permission": "owner"}, {"expires_in": "soon"}])
def test_a_token_asked_for_wrongly_is_refused(wrong):
    with pytest.raises(ValidationError):
        TokenConfig.model_validate(wrong)
