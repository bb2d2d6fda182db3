"""Where a token leads: one for all that its user may into all of their workspaces, one for a workspace there alone."""

from __future__ import annotations

import pytest

from tests.rpc.place import Place, place
from valetkey.identity.narrowing import restricted
from valetkey.model.calls import SESSION, Presented
from valetkey.model.tokens import TokenKind
from valetkey.model.users import UserPermission
from valetkey.secret import Secret

OWN = "ws-user-local|ada"
PASSWORD = Secret("a long enough password")


async def given(here: Place, kind: TokenKind, workspace: str | None = None) -> str:
    """As `valetkey apikeys create --user ada` makes it, and `tokens create`; by ``workspace`` with `--workspace`."""
    accounts = here.identity.accounts
    account = await accounts.get("ada") or await accounts.add("ada", PASSWORD)
    user = restricted(accounts.user_of(account), workspace=workspace, permission=UserPermission.admin, extra_scopes=[])
    secret, _ = await here.identity.tokens.issue(kind, user, accounts.owner_of(account))
    return secret.reveal()


@pytest.mark.parametrize("kind", [TokenKind.API_KEY, TokenKind.ACCESS])
async def test_a_token_without_a_workspace_leads_to_each_that_its_user_may_be_in(kind: TokenKind) -> None:
    async with place() as here:
        token = await given(here, kind)
        server = await here.connect("c1", token=token)
        assert server.config.workspace == OWN
        await server.create_workspace({"id": "team-x", "name": "team-x"})
        other = await here.connect("c2", token=token, workspace="team-x")
        assert other.config.workspace == "team-x"
        config = {"visibility": "protected", "require_context": True}
        await other.register_service({"id": "s", "config": config, "where": lambda context=None: context["ws"]})
        async with here.http(token) as http:
            assert (await http.get("/team-x/services/s/where")).json() == "team-x"


async def test_who_asks_for_public_with_one_is_told_why_and_where_to_connect() -> None:
    async with place() as here:
        raw = await here.raw("c2", token=await given(here, TokenKind.API_KEY), workspace="public")
        assert raw.info["message"].startswith(f"The workspace public is the server's own: connect to {OWN}")


@pytest.mark.parametrize("kind", [TokenKind.API_KEY, TokenKind.ACCESS])
async def test_one_that_was_made_for_a_workspace_leads_there_alone(kind: TokenKind) -> None:
    async with place() as here:
        server = await here.connect("c1", token=await given(here, kind))
        await server.create_workspace({"id": "team-x", "name": "team-x"})
        child = await server.generate_token({"permission": "read"})
        for token, where, not_there in (
            (await given(here, kind, OWN), OWN, "team-x"),
            (await given(here, kind, "team-x"), "team-x", OWN),
            (child, OWN, "team-x"),
        ):
            raw = await here.raw("c2", token=token)
            assert raw.info["workspace"] == where
            refused = (await here.raw("c3", token=token, workspace=not_there)).info["message"]
            assert refused.startswith(f"Current workspace encoded in the token ({where}) does not match")
            await raw.socket.close()
            await here.gone(f"{where}/c2")


async def test_what_a_login_gives_is_for_the_workspace_that_the_program_asked_for() -> None:
    async with place() as here:
        await given(here, TokenKind.API_KEY)
        session, _ = await here.identity.local.sign_in("ada", PASSWORD, address="192.0.2.7", agent="a browser")
        person = await here.identity.chain.identify(Presented(scheme=SESSION, value=session))
        login = here.identity.login
        for workspace, bound in ((None, None), (OWN, OWN)):
            started = await login.start(workspace=workspace)
            await login.confirm(started["key"], person)
            caller = await here.caller(await login.check(started["key"], timeout=0))
            assert caller.user is not None
            assert caller.user.scope is not None
            assert caller.user.scope.current_workspace == bound
            assert caller.user.current_workspace == OWN
