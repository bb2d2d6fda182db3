"""Whether a credential is the user in person, or less."""

import pytest

from tests.identity.ours_kit import ANN, ann
from valetkey.errors import InvalidArguments
from valetkey.identity.narrowing import checked_scopes, restricted
from valetkey.identity.powers import current_workspace, is_admin, is_whole
from valetkey.model.caller import Caller
from valetkey.model.users import ScopeInfo, UserPermission

ALL = {"*": UserPermission.admin, "ws-user-ann": UserPermission.admin}


def caller(**changes) -> Caller:
    user = ann(roles=["admin"], scope=ScopeInfo(workspaces=ALL, **changes.pop("scope", {})))
    return Caller(owner=ANN, how="access", user=user.model_copy(update=changes))


@pytest.mark.requirement("C1.roles")
def test_an_admin_in_person_is_one():
    assert (is_admin(caller()), is_whole(caller())) == (True, True)


@pytest.mark.parametrize("less", [{"parent": "boss"}, {"scope": {"extra_scopes": ["files:read"]}}], ids=str)
def test_a_program_of_theirs_is_not_whatever_its_scope_says(less):
    assert (is_admin(caller(**less)), is_whole(caller(**less))) == (False, False)


def test_a_token_for_one_client_is_not_the_user():
    assert not is_whole(caller(scope={"client_id": "c1"}))


def test_without_the_role_or_without_a_user_nobody_is_admin():
    assert not is_admin(caller(roles=["dev"]))
    nobody = Caller(owner=ANN, how="host")
    assert (is_admin(nobody), is_whole(nobody), current_workspace(nobody)) == (False, False, "ws-user-ann")


def test_who_is_narrowed_has_the_role_no_more():
    whole = ann(roles=["admin", "dev"], scope=ScopeInfo(workspaces=ALL))
    less = restricted(whole, workspace="ws-a", permission=UserPermission.read, extra_scopes=[])
    assert (less.roles, less.scope and less.scope.workspaces) == (["dev"], {"ws-a": UserPermission.read})
    assert whole.roles == ["admin", "dev"]


@pytest.mark.parametrize("scope", ["ws:ws-b#a", "wid:ws-b", "cid:c1"])
def test_an_extra_scope_is_none_that_could_be_read_as_a_workspace_or_a_client(scope):
    with pytest.raises(InvalidArguments):
        checked_scopes(["files:read", scope])
