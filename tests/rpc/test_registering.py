"""Who registers, or asks, is told what is wrong and what to do; not the people who call."""

from __future__ import annotations

import sys

import pytest

from tests.rpc.place import place


async def test_a_need_of_a_provider_that_is_not_there_is_refused_when_it_is_registered() -> None:
    async with place() as here:
        ada = await here.connect("c1", token=await here.token("ada"))
        config = {"visibility": "public", "require_context": True, "needs": [{"provider": "gihub", "scopes": ["repo"]}]}
        with pytest.raises(Exception, match=r"gihub, and this server has none of that name\. Did you mean github"):
            await ada.register_service({"id": "s", "config": config, "f": lambda context=None: 1})
        config["needs"] = [{"provider": "github", "scopes": ["repo"]}]
        await ada.register_service({"id": "t", "config": config, "f": lambda context=None: 1})


@pytest.mark.parametrize("service_id", ["tools/strings", "a:b"])
async def test_an_id_with_a_slash_is_refused_by_what_is_wrong_with_it(service_id: str) -> None:
    async with place() as here:
        ada = await here.connect("c1", token=await here.token("ada"))
        with pytest.raises(Exception, match="id is of letters"):
            await ada.register_service({"id": service_id, "f": lambda: 1})


async def test_a_slash_behind_a_service_is_the_same_page() -> None:
    async with place() as here, here.http() as http:
        one, other = [await http.get(f"/public/services/hypha-login{end}") for end in ("", "/")]
    assert (one.status_code, other.json()) == (200, one.json())


async def test_a_wrong_argument_of_the_manager_names_no_class_of_ours() -> None:
    async with place() as here, here.http(await here.token("ada")) as http:
        answer = await http.get("/ws-user-ada/services/~/generate_token?expires=5")
        other = await http.get("/ws-user-ada/services/~/generate_token?config=5")
    assert (answer.status_code, answer.json()["detail"]) == (
        400,
        "generate_token: got an unexpected keyword argument 'expires'",
    )
    assert (other.status_code, "config is a map" in other.text) == (400, True)


async def test_without_msgpack_who_asks_for_it_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with place() as here, here.http() as http:
        monkeypatch.setitem(sys.modules, "msgpack", None)
        path = "/public/services/hypha-login/start"
        answer = await http.post(path, headers={"Accept": "application/msgpack"})
        both = await http.post(path, headers={"Accept": "application/msgpack, application/json"})
        monkeypatch.undo()
    assert (answer.status_code, "Ask for JSON" in answer.text) == (406, True)
    assert (both.status_code, both.headers["content-type"]) == (200, "application/json")
