"""Every door of a server: who gets in without a credential, under which names, from which origins, how often."""

import json
import re
from typing import Any

import pytest
from starlette.routing import Route

from tests.server.rooms import Served, serve
from valetkey.entrypoints.web.doors import Door
from valetkey.model.tokens import TokenKind
from valetkey.secret import Secret
from valetkey.settings.sections import Rate

HTML = {"accept": "text/html,application/xhtml+xml"}

# Reviewed: what each is for, and why nobody has to say who they are. A route that is not here asks for a credential.
PUBLIC = {
    "GET /health": "says that it is alive",
    "GET /health/liveness": "the same",
    "GET /health/readiness": "ready or not; details for this machine or with a token",
    "GET /.well-known/jwks.json": "public keys",
    "GET /.well-known/oauth-authorization-server": "our address",
    "GET /.well-known/openid-configuration": "our address",
    "GET /assets/config.json": "tells a caller who they are: nobody",
    "GET /": "a redirect to the account page, which asks",
    "GET /sign-in": "the form to sign in with",
    "POST /sign-in": "takes it; CSRF and limits",
    "POST /sign-out": "nobody is signed out",
    "GET /login/done": "a text",
    "GET /login/refused": "a text",
    "GET /first-admin/{state}": "the state in the link is the credential",
    "POST /first-admin/{state}": "the same",
    "GET /connect/{interaction}": "an unknown link; a known one asks whose it is",
    "POST /connect/{interaction}": "the same",
    "GET /auth/{provider}/oauth2/callback": "a provider's answer: the state, and the browser that claimed it",
    "GET /auth/{provider}/result/{interaction}": "for the browser that claimed it only",
    "GET /auth/{provider}/oauth2/start": "a redirect to the provider: the state, and the browser that claimed it",
    "GET /auth/{provider}/device": "a code to enter: the state, and the browser that claimed it",
    "GET /auth/{provider}/confirm/{interaction}": "a question: for the browser that claimed it only",
    "POST /auth/{provider}/confirm/{interaction}": "the same, with the form's own token",
    "GET /auth/{provider}/token": "a form: the state, and the browser that claimed it",
    "GET /auth/{provider}/basicauth": "the same",
    "GET /auth/{provider}/keypair": "the same",
    "POST /auth/{provider}/token": "the same",
    "POST /auth/{provider}/basicauth": "the same",
    "POST /auth/{provider}/keypair": "the same",
    "GET /login": "a redirect to the login page",
    "GET /{workspace}/services": "a redirect",
    "POST /{workspace}/services": "a redirect",
    "GET /{workspace}/services/": "public services only",
    "GET /{workspace}/services/{service}": "the service's visibility decides",
    "GET /{workspace}/services/{service}/": "the service's visibility decides",
    "GET /{workspace}/services/{service}/{function:path}": "the same",
    "POST /{workspace}/services/{service}/{function:path}": "the same",
    "GET /{workspace}/services/{service}/openapi.json": "the same",
    "GET /{workspace}/openapi.json": "public services only",
    "GET /{workspace}/info": "a permission decides: 403",
    "GET /{workspace}/apps/{service}": "a redirect",
    **{f"{method} /{{workspace}}/apps/{{service}}/{{path:path}}": "the service's visibility decides"
       for method in ("GET", "POST", "PUT", "PATCH", "DELETE")},
}  # fmt: skip


async def unguarded(served: Served, doors: tuple[Door, ...]) -> set[str]:
    """The routes that answer somebody without a credential by anything but 401, or a way to sign in."""
    found = set()
    for route in [route for door in doors for route in door.routes if isinstance(route, Route)]:
        for method in (route.methods or {"GET", "POST"}) - {"HEAD"}:  # a class as endpoint takes all
            path = re.sub(r"\{[^}]*\}", "x", route.path)
            answer = await served.ask(method, path, headers=HTML)
            to_sign_in = answer.status == 303 and (answer.header("location") or "").startswith("/sign-in?next=")
            if answer.status != 401 and not to_sign_in:
                found.add(f"{method} {route.path}")
            assert answer.status < 500, (method, route.path)
    return found


@pytest.mark.requirement("A-13.server", "C8.graceful")
async def test_every_route_asks_for_a_credential_but_the_reviewed_ones() -> None:
    async with serve() as served:
        assert await unguarded(served, served.doors.doors) == set(PUBLIC)


@pytest.mark.requirement("A-13.server")
async def test_a_new_route_that_asks_nobody_is_found() -> None:
    async with serve() as served:
        door = Door(app=served.app, routes=[Route("/health/new", lambda _: None, methods=["DELETE"])])
        assert await unguarded(served, (door,)) == {"DELETE /health/new"}


@pytest.mark.requirement("W-15")
@pytest.mark.parametrize(
    ("about", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1.evil.example"}, 421),
        ({"host": "127.0.0.1:9527@evil.example"}, 400),
        ({"host": ""}, 400),
        ({"more": [("host", "127.0.0.1:9527")]}, 400),
        ({"path": "http://127.0.0.1:9527/health"}, 400),
        ({"path": "*"}, 400),
        ({"host": "localhost:1"}, 200),
        ({"host": "hub.example"}, 200),
        ({"host": "HUB.example:9527"}, 200),
    ],
)
@pytest.mark.parametrize("path", ["/health", "/sign-in", "/public/services/"])
async def test_only_our_own_names_are_answered_to(about: dict[str, Any], status: int, path: str) -> None:
    async with serve(hosts=frozenset({"hub.example"})) as served:
        answer = await served.ask(**{"path": path, **about})
        assert answer.status == status
        page = await served.ask(**{"path": path, "headers": HTML, **about})
        assert page.status == status


async def test_a_websocket_under_another_name_is_refused() -> None:
    async with serve() as served:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "websocket", "path": "/ws", "headers": [(b"host", b"evil.example")], "client": ("x", 1)}
        await served.app(scope, None, send)
        assert sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]


@pytest.mark.requirement("seed004.ts-cors", "W-16")
async def test_by_default_no_other_origin_is_answered() -> None:
    async with serve() as served:
        for origin in ("https://evil.example", "null", "http://127.0.0.1:9527"):
            answer = await served.ask(path="/public/services/", headers={"origin": origin})
            assert not [name for name, _ in answer.headers if name.startswith("access-control-")]


@pytest.mark.requirement("seed004.ts-cors", "W-16")
@pytest.mark.parametrize(
    ("allowed", "origin", "named"),
    [
        (("https://a.example",), "https://a.example", "https://a.example"),
        (("https://a.example",), "https://a.example.evil", None),
        (("https://a.example",), "http://a.example", None),
        (("https://a.example",), "https://A.example", None),
        (("https://a.example",), "null", None),
        (("*",), "https://any.example", "*"),
        (("*",), "null", None),
    ],
)
async def test_listed_origins_are_answered_and_never_with_credentials(
    allowed: tuple[str, ...], origin: str, named: str | None
) -> None:
    async with serve(allow_origins=allowed) as served:
        asked = {"origin": origin, "access-control-request-method": "POST"}
        preflight = await served.ask("OPTIONS", "/public/services/hypha-login/start", headers=asked)
        simple = await served.ask(path="/public/services/", headers={"origin": origin})
        for answer in (preflight, simple):
            assert answer.header("access-control-allow-origin") == named
            assert answer.header("access-control-allow-credentials") is None
            assert answer.header("vary") == "Origin"
        assert (preflight.status == 204) is (named is not None)
        assert ("POST" in (preflight.header("access-control-allow-methods") or "")) is (named is not None)


@pytest.mark.requirement("W-16")
async def test_two_origins_are_none() -> None:
    async with serve(allow_origins=("https://a.example",)) as served:
        twice = [("origin", "https://a.example"), ("origin", "https://a.example")]
        answer = await served.ask(path="/public/services/", more=twice)
        assert answer.header("access-control-allow-origin") is None


@pytest.mark.requirement("W-14")
async def test_every_answer_has_its_headers() -> None:
    async with serve(base_url="https://my-org.example") as served:
        for path in ("/", "/sign-in", "/health", "/nope", "/public/services/", "/assets/config.json", "/login"):
            answer = await served.ask(path=path, scheme="https")
            assert answer.header("strict-transport-security") == "max-age=31536000"
            assert "default-src 'none'" in (answer.header("content-security-policy") or "")
            assert answer.header("x-content-type-options") == "nosniff"
            assert answer.header("x-frame-options") == "DENY"
            assert answer.header("referrer-policy") == "no-referrer"
            assert answer.header("cross-origin-opener-policy") == "same-origin"
            assert answer.header("cache-control")
            assert answer.header("x-request-id")


@pytest.mark.requirement("W-18", "W-20")
@pytest.mark.parametrize(
    "path",
    [
        "/.git/config",
        "/debug",
        "/assets/../pyproject.toml",
        "/assets/%2e%2e%2fpyproject.toml",
        "/assets/..%2f..%2fetc/passwd",
        "/style.css.map",
        "/openapi.json",
        "/docs",
        "/static/../../etc/passwd",
        "/sign-in/",
        "//sign-in",
        "/sign-in%2f",
    ],
)
async def test_what_is_not_served_is_not_there(path: str) -> None:
    async with serve() as served:
        answer = await served.ask(path=path)
        assert answer.status == 404
        page = await served.ask(path=path, headers=HTML)
        assert page.status == 404
        for text in (answer.text, page.text):
            assert not re.search(r"(?i)traceback|/src/|site-packages|starlette|uvicorn|python|select |sqlite", text)


@pytest.mark.requirement("W-18")
@pytest.mark.parametrize(
    ("serving", "peer", "headers", "local"),
    [
        ({}, "127.0.0.1", {}, True),
        ({}, "192.0.2.7", {}, False),
        ({}, "127.0.0.1", {"x-forwarded-for": "127.0.0.1"}, False),
        ({"trusted_proxies": frozenset({"127.0.0.1"})}, "127.0.0.1", {}, False),
        ({"trusted_proxies": frozenset({"127.0.0.1"})}, "127.0.0.1", {"x-forwarded-for": "127.0.0.1"}, False),
        ({"public_base_url": "https://my-org.example"}, "127.0.0.1", {}, False),
        ({"public_base_url": "http://127.0.0.1:9527"}, "127.0.0.1", {}, True),
        ({"public_base_url": "http://[::1]:9527"}, "127.0.0.1", {}, True),
    ],
)
async def test_details_are_for_this_machine_and_no_reverse_proxy_is_that(
    serving: dict[str, Any], peer: str, headers: dict[str, str], *, local: bool
) -> None:
    async with serve(**serving) as served:
        answer = await served.ask(path="/health/readiness", peer=peer, headers=headers)
        assert answer.status == 200
        assert ("checks" in json.loads(answer.body)) is local


@pytest.mark.requirement("W-18")
async def test_metrics_are_not_there_for_others() -> None:
    async with serve() as served:
        assert (await served.ask(path="/metrics", peer="192.0.2.7")).status == 404


@pytest.mark.requirement("d29.calls")
async def test_requests_of_one_address_are_limited_and_others_are_not() -> None:
    async with serve(rate=Rate(per_second=2, burst=3)) as served:
        statuses = [(await served.ask(path="/health", peer="192.0.2.7")).status for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        refused = await served.ask(path="/health", peer="192.0.2.7")
        assert refused.header("retry-after") == "1"
        assert json.loads(refused.body)["success"] is False
        page = await served.ask(path="/sign-in", peer="192.0.2.7", headers=HTML)
        assert (page.status, page.header("retry-after")) == (429, "1")
        assert (await served.ask(path="/health", peer="192.0.2.8")).status == 200
        served.clock.advance(0.5)
        assert (await served.ask(path="/health", peer="192.0.2.7")).status == 200
        assert (await served.ask(path="/health", peer="192.0.2.7")).status == 429


@pytest.mark.requirement("d29.calls")
async def test_a_token_that_was_verified_counts_for_itself_and_an_unknown_one_for_its_address() -> None:
    async with serve(rate=Rate(per_second=1, burst=2), signed_in_rate=Rate(per_second=1, burst=4)) as served:
        mine = {"authorization": f"Bearer {await served.token(kind=TokenKind.ACCESS)}"}
        asked = {"path": "/assets/config.json", "peer": "192.0.2.7"}
        assert (await served.ask(**asked, headers=mine)).status == 200  # from here on it is known
        statuses = [(await served.ask(**asked, headers=mine)).status for _ in range(5)]
        assert statuses == [200, 200, 200, 200, 429]
        assert (await served.ask(**asked)).status == 200  # the second of that address
        for guess in ("a.b.c", "vk_guess", "x" * 40):
            answer = await served.ask(**asked, headers={"authorization": f"Bearer {guess}"})
            assert answer.status == 429


async def test_the_address_is_that_of_the_client_behind_trusted_proxies_only() -> None:
    rate = Rate(per_second=1, burst=1)
    async with serve(rate=rate, trusted_proxies=frozenset({"10.0.0.0/8"})) as served:
        for client in ("192.0.2.1", "192.0.2.2"):
            answer = await served.ask(path="/health", peer="10.1.2.3", headers={"x-forwarded-for": client})
            assert answer.status == 200
        again = await served.ask(path="/health", peer="10.1.2.3", headers={"x-forwarded-for": "made-up, 192.0.2.1"})
        assert again.status == 429
        for client in ("192.0.2.3", "192.0.2.4"):  # this one is trusted by nobody
            answer = await served.ask(path="/health", peer="198.51.100.1", headers={"x-forwarded-for": client})
        assert answer.status == 429


async def test_behind_a_trusted_proxy_the_browser_came_by_the_scheme_that_it_tells() -> None:
    about: dict[str, Any] = {"base_url": "http://127.0.0.1:9527", "trusted_proxies": frozenset({"10.0.0.1"})}
    async with serve(**about) as served:
        await served.identity.accounts.add("ada", Secret("a long enough password"))
        told = {"x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "https"}
        answer = await served.ask(path="/sign-in", peer="10.0.0.1", headers=told)
        assert "Secure" in str(answer.headers)
        answer = await served.ask(path="/sign-in", peer="192.0.2.9", headers=told)
        assert "Secure" not in str(answer.headers)


@pytest.mark.parametrize("path", ["/hub/sign-in", "/sign-in"])
async def test_behind_a_prefix_every_link_has_it(path: str) -> None:
    async with serve(base_url="http://127.0.0.1:9527/hub", base_path="/hub") as served:
        answer = await served.ask(path=path, headers=HTML)
        assert answer.status in (200, 303)
        root = await served.ask(path="/hub/" if path.startswith("/hub") else "/")
        assert root.header("location") == "/hub/account"
        account = await served.ask(path=path.replace("sign-in", "account"))
        assert account.header("location") == "/hub/sign-in?next=/hub/account"
        login = await served.ask(path=path.replace("sign-in", "login"))
        assert login.header("location") == "/hub/public/apps/hypha-login/"


@pytest.mark.requirement("seed004.http-bearer", "d30.carriers", "J-35")
@pytest.mark.parametrize("path", ["/assets/config.json", "/public/services/"])
async def test_header_forms_of_a_token(path: str) -> None:
    """J-35, with the carriers of decision 30."""
    async with serve() as served:
        token = await served.token()
        for taken in (f"Bearer {token}", f"bearer {token}", f"BEARER  {token}", token):
            assert (await served.ask(path=path, headers={"authorization": taken})).status == 200, taken
        refused = [f"Bearer {token}, Bearer {token}", f"Bearer\t{token}", "Bearer", "Bearer ", "Basic eDp5", "Basic x"]
        for value in [*refused, f"Digest {token}", f"Bearer {token} {token}", f"Bearer {token}x", ""]:
            answer = await served.ask(path=path, headers={"authorization": value})
            assert answer.status == 401, value
            assert (answer.header("www-authenticate") or "").startswith("Bearer")
            assert json.loads(answer.body)["success"] is False
        twice = [("authorization", f"Bearer {token}"), ("authorization", f"Bearer {token}")]
        assert (await served.ask(path=path, more=twice)).status == 401


@pytest.mark.requirement("J-36", "A-04")
@pytest.mark.parametrize("path", ["/assets/config.json", "/public/services/", "/sign-in"])
async def test_a_token_in_the_address_is_refused(path: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    async with serve() as served:
        token = await served.token(kind=TokenKind.ACCESS)
        answer = await served.ask(path=path, query=f"access_token={token}")
        assert answer.status == 401
        assert token not in caplog.text
        assert token not in answer.text


@pytest.mark.requirement("seed004.bp-errors", "seed004.bp-documentation")
async def test_the_challenge_says_what_is_wrong_with_the_token() -> None:
    async with serve() as served:
        token = await served.token(kind=TokenKind.ACCESS)
        served.clock.advance(4000)
        answer = await served.ask(path="/assets/config.json", headers={"authorization": f"Bearer {token}"})
        assert answer.status == 401
        assert answer.header("www-authenticate") == (
            'Bearer realm="valetkey", error="invalid_token",'
            ' error_description="The token has expired. Please fetch a new one"'
        )


@pytest.mark.requirement("W-20")
async def test_what_nobody_caught_is_a_reference_and_no_text(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve() as served:

        async def broken(_: Any) -> None:
            raise RuntimeError("canary of an inside")

        monkeypatch.setattr(type(served.identity.chain), "identify", lambda *_: broken(_))
        answer = await served.ask(path="/assets/config.json")
        assert answer.status == 503
        assert "canary" not in answer.text + caplog.text
        reference = json.loads(answer.body)["reference"]
        assert reference in caplog.text
        assert answer.header("x-request-id") == reference


@pytest.mark.requirement("seed004.bp-backup")
async def test_the_root_token_is_root() -> None:
    async with serve() as served:
        answer = await served.ask(path="/assets/config.json", headers={"authorization": f"Bearer {'r' * 32}"})
        assert json.loads(answer.body)["user"]["id"] == "root"
        assert Secret("r" * 32)


async def test_another_name_is_refused_with_what_the_operator_has_to_do_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serve() as served:
        answers = [await served.ask(path="/health", host=f"hub{number}:9527") for number in range(3)]
    for answer in answers:
        assert answer.status == 421
        assert "--allowed-host" in json.loads(answer.body)["detail"]
    (line,) = [record.getMessage() for record in caplog.records if "421" in record.getMessage()]
    assert "'hub0'" in line
    assert "--allowed-host" in line
