"""Seed 004's programs, run by the server's own loader and asked over HTTP."""

import pytest

from tests.services.kit import Place, bearer
from valetkey.errors import Unauthenticated


@pytest.mark.requirement(
    "seed004.parse-token", "seed004.generate-token", "seed004.example-basic", "d31.names", "C.shown-examples"
)
async def test_basic_a_token_of_its_own_is_made_at_login_and_taken(place: Place):
    client = await place.serve("custom-auth-basic.py:hypha_startup")
    _, ada = await place.signed_in()
    key = (await client.post("/public/services/hypha-login/start", json={"expires_in": 60})).json()["key"]
    await place.login.confirm(key, ada)
    token = (await client.post("/public/services/hypha-login/check", json={"key": key})).json()
    assert len(token) == 43, "32 random bytes, base64url: what the example's generator makes"
    caller = await place.identify(token)
    assert caller.principal == ("valetkey", "local|ada")
    refused = await client.post("/public/services/ws/echo", json={"data": 1}, headers=bearer("no-such-token"))
    assert (refused.status_code, refused.json()) == (401, {"success": False, "detail": "Invalid token"})
    assert refused.headers["www-authenticate"] == "Bearer"


@pytest.mark.requirement("seed004.example-basic")
async def test_basic_a_token_that_its_generator_made_can_be_revoked(place: Place):
    client = await place.serve("custom-auth-basic.py:hypha_startup")
    _, ada = await place.signed_in()
    key = (await client.post("/public/services/hypha-login/start")).json()["key"]
    await place.login.confirm(key, ada)
    token = (await client.get("/public/services/hypha-login/check", params={"key": key})).json()
    caller = await place.identify(token)
    assert [each.kind.value for each in await place.tokens.list(ada) if each.id == caller.token] == ["custom"]
    await place.tokens.revoke(ada, caller.token)
    with pytest.raises(Unauthenticated, match="revoked"):
        await place.identify(token)


@pytest.mark.requirement(
    "seed004.example-api-key", "seed004.http-api-key", "d23.parse-token", "d31.names", "C.shown-examples"
)
async def test_api_key_its_keys_and_our_tokens_stand_side_by_side(place: Place):
    client = await place.serve("custom-auth-api-key.py:hypha_startup", "protected-service.py:start_service")
    key = await place.identify("sk_live_abc123")
    assert key.user is not None
    assert (key.user.id, key.user.email, key.owner.issuer) == ("api_user_1", "api@example.com", "custom")
    assert (await place.workspaces.ensure(key, "api-workspace")).owners == ["api_user_1"]
    assert (await place.identify(await place.access())).owner.subject == "local|ada"
    bad = await client.get("/public/services/", headers=bearer("sk_live_nope"))
    assert (bad.status_code, bad.json()["detail"]) == (401, "Invalid API key")
    unknown = await client.get("/public/services/", headers=bearer("whatever"))
    assert unknown.status_code == 401


@pytest.mark.requirement("seed004.example-multi", "d31.names", "C.shown-examples")
async def test_multi_each_kind_goes_where_it_belongs(place: Place):
    await place.serve("custom-auth-multi.py:hypha_startup")
    found = {
        token: (await place.identify(token)).owner.subject
        for token in ("sk_live_abc123", "saml_5f2d", "oauth2_77aa", "custom_c0de", await place.access())
    }
    assert list(found.values()) == ["api_user_1", "user", "oauth-user", "custom-user", "local|ada"]
    with pytest.raises(Unauthenticated, match="Invalid saml token"):
        await place.identify("saml_wrong")


@pytest.mark.requirement(
    "seed004.index-handler",
    "seed004.start-handler",
    "seed004.check-handler",
    "seed004.report-handler",
    "seed004.replaces",
    "seed004.example-login",
    "d31.names",
    "C6.register",
    "C.shown-examples",
)
async def test_custom_login_its_page_and_flow_take_the_place_of_ours(place: Place):
    client = await place.serve("custom-login.py:hypha_startup")
    started = (await client.post("/public/services/hypha-login/start", json={"workspace": "w"})).json()
    key = started["key"]
    assert started == {"login_url": f"/public/apps/hypha-login/?key={key}", "key": key}
    page = await client.get(started["login_url"])
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html")
    assert page.text == "<html><body><h1>Custom Login</h1>...</body></html>"
    token = await place.access()
    await client.post("/public/services/hypha-login/report", json={"key": key, "token": token, "email": "a@b.example"})
    answer = await client.post("/public/services/hypha-login/check", json={"key": key, "timeout": 1})
    assert answer.json() == token
    waited = await client.post("/public/services/hypha-login/check", json={"key": "none", "timeout": 0})
    assert (waited.status_code, waited.json()["detail"]) == (504, "RemoteException: TimeoutError: Login timeout")
    logout = await client.post("/public/services/hypha-login/logout", json={})
    assert "logout_url" in logout.json(), "what it left out is ours"


@pytest.mark.requirement("seed004.example-protected", "d31.names")
async def test_protected_service_looks_at_who_calls(place: Place):
    client = await place.serve("protected-service.py:start_service", "custom-auth-basic.py:hypha_startup")
    path = "/public/services/protected-service/protected_function"
    ada = await client.post(path, json={"data": 42, "context": {"user": {"roles": ["admin"]}}})
    assert ada.status_code == 500
    assert ada.json()["detail"] == "RemoteException: Exception: User None is not authorized"
    user = await client.post(path, json={"data": 42}, headers=bearer(await place.access("user")))
    assert (user.status_code, user.json()) == (200, "Protected data for user@example.com: 42")
