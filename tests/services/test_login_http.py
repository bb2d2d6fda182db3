"""hypha-login over HTTP: a program starts, a person says yes, the program gets the token once."""

import asyncio

import pytest

from tests.services.kit import BASE, Place, bearer
from tests.web.asgi import scope_of

HERE = "/public/services/hypha-login"


@pytest.mark.requirement("seed004.identity", "seed004.http-login", "d25.own-table", "C5.functions")
async def test_a_program_signs_in(place: Place):
    client = await place.serve()
    started = (await client.post(f"{HERE}/start", json={"workspace": "ws-user-local|ada", "expires_in": 600})).json()
    key = started["key"]
    assert started["login_url"] == (
        f"{BASE}/public/apps/hypha-login/?key={key}&workspace=ws-user-local%7Cada&expires_in=600"
    )
    assert (started["report_url"], started["check_url"]) == (f"{BASE}{HERE}/report", f"{BASE}{HERE}/check")
    assert (await client.post(f"{HERE}/check", json={"key": key, "timeout": 0})).json() is None

    asked = await place.login.asked(key)
    assert asked.code == started["code"]
    assert (asked.workspace, asked.expires_in) == ("ws-user-local|ada", 600)
    _, ada = await place.signed_in()
    waiting = asyncio.create_task(client.post(f"{HERE}/check", json={"key": key}))
    await place.clock.sleepers(1)
    await place.login.confirm(key, ada)
    token = (await waiting).json()

    caller = await place.identify(token)
    assert caller.user is not None
    assert caller.user.id == "local|ada"
    assert caller.user.expires_at == pytest.approx(place.clock.now() + 600)
    again = await client.post(f"{HERE}/check", json={"key": key, "timeout": 0})
    assert (again.status_code, again.json()) == (
        400,
        {"success": False, "detail": "Invalid key, key does not exist"},
    )


async def test_a_wait_that_ends_is_a_504(place: Place):
    client = await place.serve()
    key = (await client.get(f"{HERE}/start")).json()["key"]
    waiting = asyncio.create_task(client.get(f"{HERE}/check", params={"key": key, "timeout": 2}))
    for _ in range(4):
        await place.clock.sleepers(1)
        place.clock.advance(0.5)
        await asyncio.sleep(0)
    answer = await waiting
    assert answer.status_code == 504
    assert "Login timeout, waited for 2 seconds" in answer.json()["detail"]


async def test_report_is_taken_by_post_only(place: Place):
    client = await place.serve()
    token = await place.access()
    key = (await client.post(f"{HERE}/start")).json()["key"]
    refused = await client.get(f"{HERE}/report", params={"key": key, "token": "opaque"})
    assert (refused.status_code, "POST" in refused.json()["detail"]) == (400, True)
    done = await client.post(f"{HERE}/report", json={"key": key, "token": token, "address": "1.2.3.4"})
    assert (done.status_code, done.json()) == (200, None)
    profile = (await client.post(f"{HERE}/check", json={"key": key, "profile": True})).json()
    assert profile["token"] == token
    late = await client.post(f"{HERE}/report", json={"key": key, "token": token})
    assert (late.status_code, late.json()["detail"]) == (400, "Invalid key, key does not exist or expired")


@pytest.mark.requirement("O-32")
async def test_starts_are_limited_by_address(place: Place):
    client = await place.serve()
    statuses = [(await client.post(f"{HERE}/start")).status_code for _ in range(61)]
    assert statuses == [200] * 60 + [429]
    answer = await client.post(f"{HERE}/start", json={})
    assert answer.headers["retry-after"] == "60"


async def test_a_caller_cannot_say_from_where_it_comes(place: Place):
    client = await place.serve()
    refused = await client.post(f"{HERE}/start", json={"address": "10.0.0.1"})
    assert refused.status_code == 400
    key = (await client.post(f"{HERE}/start", json={}, headers={"user-agent": "a program"})).json()["key"]
    asked = await place.login.asked(key)
    assert (asked.address, asked.agent) == ("127.0.0.1", "a program")


@pytest.mark.requirement("C5.functions")
async def test_profile_and_logout_say_where_our_pages_are(place: Place):
    client = await place.serve()
    assert (await client.post(f"{HERE}/logout", json={"config": {}})).json()["logout_url"].startswith(BASE)
    assert (await client.get(f"{HERE}/profile")).json()["status"] == 302
    page = await client.get("/public/apps/hypha-login/profile")
    assert (page.status_code, page.headers["location"]) == (302, f"{BASE}/account")
    assert (await client.get("/public/apps/hypha-login/logout")).json()["logout_url"].startswith(BASE)
    assert (await client.get("/public/apps/hypha-login/check")).status_code == 404


@pytest.mark.parametrize("workspace", [{"a": 1}, ["ws"], 5, False, "x" * 300, "ws-\n"])
async def test_a_workspace_that_can_be_none_is_a_400(place: Place, workspace):
    client = await place.serve()
    token = await place.access()
    key = (await client.post(f"{HERE}/start")).json()["key"]
    for name, told in {"report": {"key": key, "token": token}, "start": {}}.items():
        answer = await client.post(f"{HERE}/{name}", json={**told, "workspace": workspace})
        assert (answer.status_code, "workspace has to be" in answer.json()["detail"]) == (400, True)


@pytest.mark.requirement("seed004.login-page", "seed004.replaces")
async def test_the_page_is_ours_until_a_program_has_its_own(place: Place):
    from starlette.responses import PlainTextResponse

    async def page(request, key):
        return PlainTextResponse(f"ours {key}")

    client = await place.serve(login_page=page)
    assert (await client.get("/public/apps/hypha-login/?key=k1")).text == "ours k1"
    moved = await client.get("/login?key=k1")
    assert (moved.status_code, moved.headers["location"]) == (307, "/public/apps/hypha-login/?key=k1")
    assert (await client.get("/public/apps/hypha-login")).headers["location"] == "/public/apps/hypha-login/"
    assert (await client.get("/public/apps/hypha-login/start")).status_code == 404


async def test_a_revoked_token_completes_nothing(place: Place):
    client = await place.serve()
    token = await place.access()
    caller = await place.identify(token)
    await place.tokens.revoke(caller, caller.token)
    key = (await client.post(f"{HERE}/start")).json()["key"]
    answer = await client.post(f"{HERE}/report", json={"key": key, "token": token})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("Invalid token provided to report_login")
    assert token not in answer.text
    assert (await client.get(f"{HERE}/check", params={"key": key, "timeout": 0})).json() is None


@pytest.mark.requirement("O-34")
async def test_a_token_that_is_handed_out_is_told_to_nobody_else(place: Place):
    client = await place.serve()
    token = await place.access()
    key = (await client.post(f"{HERE}/start")).json()["key"]
    await client.post(f"{HERE}/report", json={"key": key, "token": token}, headers=bearer(token))
    answers = await asyncio.gather(*(client.get(f"{HERE}/check", params={"key": key}) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200, *[400] * 7]
    assert sum(token in answer.text for answer in answers) == 1


async def test_a_program_that_went_away_is_handed_nothing(place: Place, monkeypatch):
    monkeypatch.setattr("valetkey.entrypoints.rpc.http._GRACE", 0.01)
    client = await place.serve()
    app = client._transport.app  # type: ignore[attr-defined]
    key = (await client.post(f"{HERE}/start")).json()["key"]
    gone = asyncio.Event()
    body = [{"type": "http.request", "body": f'{{"key": "{key}"}}'.encode(), "more_body": False}]

    async def receive():
        if body:
            return body.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    sent: list[dict[str, object]] = []
    scope = scope_of("POST", f"{HERE}/check", headers=[("host", "localhost"), ("content-type", "application/json")])
    call = asyncio.create_task(app(scope, receive, send))
    await place.clock.sleepers(1)
    gone.set()
    await call
    assert sent[0]["status"] == 499
    token = await place.access()
    await place.login.report(key, token)
    assert await place.login.check(key, timeout=0) == token, "it is there still"
