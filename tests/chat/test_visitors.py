"""Users of the app's own sign-in: nobody is somebody else, whoever is blocked stays out, and a refusal is one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, HTTPException
from websockets.exceptions import InvalidStatus

from tests.chat.live import Live, live
from tests.chat.test_lifecycle import seconds, token_of
from valetkey import UserInfo, create_scope, current_user
from valetkey.entrypoints.chat.plugin import add_bedrock_chat
from valetkey.entrypoints.chat.visitors import vouched
from valetkey.errors import InvalidArguments, NotFound
from valetkey.model.caller import CHAT_USERS, CUSTOM, OURS, Caller, Owner
from valetkey.model.calls import SESSION, Presented
from valetkey.model.tokens import TokenKind


@pytest.mark.requirement("d14.auth-dependency")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"email": "vic@x.example", "username": "vic", "id": 1}, {"email": None, "username": "vic@x.example", "id": 2}),
        ({"username": "7", "id": 1}, {"username": None, "id": 7}),
    ],
)
def test_two_users_of_an_app_are_never_one_because_a_field_is_empty(one: Any, other: Any) -> None:
    first, second = vouched(one, "/ws"), vouched(other, "/ws")
    assert first is not None
    assert second is None or first.owner != second.owner


@pytest.mark.requirement("D.own-users")
async def test_users_of_two_sign_ins_are_not_one_person_because_they_have_one_number() -> None:
    """Customer 5 and member of staff 5; the same holds for two apps over one database."""
    app = FastAPI()
    async with live(app, auth_dependency=lambda: 5) as chat:
        customer = await chat.open()
        base = "/staff"
        ends: dict[str, Any] = {"chat_endpoint": base, "websocket_endpoint": f"{base}/ws", "ui_endpoint": f"{base}/ui"}
        staff = add_bedrock_chat(app, model_id="offline", auth_dependency=lambda: str(5), **ends)
        member = await chat.open("/staff/ws")
        one, two = chat.plugin.session_manager.get(customer.id), staff.session_manager.get(member.id)
        assert one is not None
        assert two is not None
        assert one.owner != two.owner


async def _status(chat: Live) -> int:
    with pytest.raises(InvalidStatus) as refused:
        await chat.open()
    return refused.value.response.status_code


@pytest.mark.requirement("W-05")
async def test_a_blocked_user_of_the_apps_sign_in_is_not_let_in() -> None:
    async with live(auth_dependency=lambda: "ada") as chat:
        identity = chat.plugin.chat.mounted.identity
        assert (await chat.open()).id
        await identity.system.home.run(lambda: identity.blocks.add("user", "ada"))
        assert await _status(chat) == 403


@pytest.mark.requirement("W-05")
async def test_who_came_by_a_token_of_ours_goes_with_it() -> None:
    """W-05: closed with 4401, also where the app's dependency makes a dict of what ``current_user`` gave."""

    async def user(found: Annotated[UserInfo, Depends(current_user)]) -> dict[str, str]:
        return {"sub": found.id}

    async with live(auth_dependency=user) as chat:
        secret, _ = await token_of(chat)
        client = await chat.open(headers={"authorization": f"Bearer {secret}"})
        chat.clock.advance(600)
        await seconds(chat, client.id, 6)
        assert chat.plugin.session_manager.get(client.id) is None


@pytest.mark.requirement("d14.auth-dependency")
async def test_a_dependency_that_is_cancelled_is_no_error_of_ours() -> None:
    async def user() -> str:
        raise asyncio.CancelledError  # as a task of its own that was cancelled gives it

    async with live(auth_dependency=user) as chat:
        assert await _status(chat) == 503


class Detached:
    @property
    def id(self) -> int:
        raise RuntimeError("the row is not of this database session")


@pytest.mark.requirement("d14.auth-dependency")
async def test_a_user_who_cannot_be_read_is_let_in_nowhere() -> None:
    async with live(auth_dependency=Detached) as chat:
        assert await _status(chat) == 503


@pytest.mark.requirement("d14.auth-dependency")
@pytest.mark.parametrize(
    "refusal",
    [
        HTTPException(401, detail={"until": datetime(2026, 1, 1, tzinfo=UTC)}),
        HTTPException(401, detail="no user \ud800"),
        HTTPException(429, headers={"retry-after": 5}),  # type: ignore[dict-item]
        HTTPException(401, headers={"x-who": "€"}),
    ],
    ids=["a time", "half a character", "a number", "not latin"],
)
async def test_a_refusal_that_json_or_http_has_not_is_a_refusal_all_the_same(refusal: HTTPException) -> None:
    def user() -> str:
        raise refusal

    async with live(auth_dependency=user) as chat:
        assert await _status(chat) == refusal.status_code


async def test_nobody_makes_a_workspace_of_the_name_that_users_of_a_chat_are_in() -> None:
    """Its maker would be its admin, who may see and approve calls of all of them."""
    async with live() as chat:
        identity = chat.plugin.chat.mounted.identity
        owner = Owner(workspace="ws-user-eve", issuer=OURS, subject="eve")

        async def make() -> None:
            eve = UserInfo(id="eve", roles=[], scope=create_scope("ws-user-eve#a", current_workspace="ws-user-eve"))
            secret, _ = await identity.tokens.issue(TokenKind.SESSION, eve, owner, expires_in=600)
            caller = await identity.chain.identify(Presented(scheme=SESSION, value=secret))
            await identity.workspaces.create(caller, CHAT_USERS)

        with pytest.raises(InvalidArguments):
            await identity.system.home.run(make)


@pytest.mark.parametrize("name", ["local", "chat", CHAT_USERS])
async def test_no_parser_makes_its_users_a_part_of_a_reserved_workspace(name: str) -> None:
    async with live() as chat:
        workspaces = chat.plugin.chat.mounted.identity.workspaces
        user = UserInfo(id="eve", roles=[], scope=create_scope({name: "a"}))
        eve = Caller(owner=Owner(workspace="ws-user-eve", issuer=CUSTOM, subject="eve"), how=CUSTOM, user=user)
        home = chat.plugin.chat.system.home
        assert await home.run(lambda: workspaces.permission(eve, name)) is None
        with pytest.raises(NotFound):
            await home.run(lambda: workspaces.ensure(eve, name))
