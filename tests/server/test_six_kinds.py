"""Six kinds of token on one server at once, with seed 004's raising parser in place: each goes where it belongs."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import jwt
import pytest

from tests.real import conftest as real
from tests.real.node import Node
from tests.real.tenant import Tenant
from tests.server.rooms import Served, serve
from valetkey.entrypoints.rpc.startup import run_startup_function
from valetkey.model.tokens import TokenKind
from valetkey.secret import Secret
from valetkey.settings.server import load_server

node = real.node

SHARED = "a secret that this server shares with other tools"
AUDIENCE = "https://api.example/v2/"
NAMESPACE = "https://organization.example/"
EXAMPLE = Path(__file__).parents[2] / "examples" / "custom-auth-basic.py"


@pytest.fixture(scope="module")
def tenant(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenant]:
    log: Path = tmp_path_factory.mktemp("tenant") / "tenant.log"
    running = Tenant(node.node, log, namespace=NAMESPACE, audience=AUDIENCE, slash=True)
    yield running
    running.stop()


class Clock:
    """The real one: a provider in another process signs by it."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


def minted_elsewhere(sub: str) -> str:
    """As tools of that ecosystem mint one: no jti, no kid."""
    now = int(time.time())
    claims = {
        "iss": NAMESPACE,
        "sub": sub,
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + 600,
        "scope": f"ws:ws-user-{sub}#a wid:ws-user-{sub}",
        "gty": "client-credentials",
        f"{NAMESPACE}roles": ["editor"],
    }
    return jwt.encode(claims, SHARED, "HS256")


@dataclass
class Platform:
    """The server, and what seed 004's program registered."""

    served: Served
    made: dict[str, object]

    async def who(self, token: str = "", cookie: str = "") -> tuple[int, str]:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        headers |= {"cookie": f"valetkey={cookie}"} if cookie else {}
        answer = await self.served.ask(path="/assets/config.json", headers=headers)
        body = json.loads(answer.text)
        return answer.status, body["user"]["id"] if answer.status == 200 else body["detail"]


@asynccontextmanager
async def platform(tenant: Tenant, folder: Path) -> AsyncIterator[Platform]:
    environ = {
        "JWT_SECRET": SHARED,
        "AUTH0_DOMAIN": tenant.issuer.removeprefix("http://").rstrip("/"),
        "AUTH0_AUDIENCE": AUDIENCE,
        "AUTH0_ISSUER": NAMESPACE,
        "AUTH0_NAMESPACE": NAMESPACE.rstrip("/"),
    }
    settings = load_server(folder, environ, keywords={"identity": {"root_token": "r" * 40}})
    async with serve(identity=settings.identity, clock=Clock()) as served:
        registered: dict[str, object] = {}

        class Server:
            async def register_auth_service(self, **parts: object) -> None:
                registered.update(parts)
                await served.identity.plugin.register_auth_service(**parts)  # type: ignore[arg-type]

        await run_startup_function(f"{EXAMPLE}:hypha_startup", Server())
        yield Platform(served, registered)


@pytest.mark.requirement(
    "seed004.identity",
    "seed004.auth0-issuer",
    "seed004.auth0-namespace",
    "seed004.bp-testing",
    "d20.own-scopes-only",
    "d22.order",
    "C.shown-six-kinds",
)
@pytest.mark.node
async def test_each_kind_of_token_goes_where_it_belongs(tenant: Tenant, tmp_path: Path) -> None:
    async with platform(tenant, tmp_path) as here:
        rooms = here.served.identity
        await rooms.accounts.add("ada", Secret("a long enough password"))
        session, _ = await rooms.local.sign_in("ada", Secret("a long enough password"), address="", agent="")
        ada = await rooms.accounts.get("ada")
        assert ada is not None
        user, owner = rooms.accounts.user_of(ada), rooms.accounts.owner_of(ada)
        access, _ = await rooms.tokens.issue(TokenKind.ACCESS, user, owner, expires_in=600)
        key, _ = await rooms.tokens.issue(TokenKind.API_KEY, user, owner)
        generate = here.made["generate_token"]
        assert callable(generate)
        theirs = generate(user.model_copy(update={"id": "custom-user"}), 600)

        assert await here.who(tenant.token(alg="ES256", sub="auth0|ada", roles=["editor"])) == (200, "auth0|ada")
        assert await here.who(minted_elsewhere("user-1")) == (200, "user-1")
        assert await here.who(access.reveal()) == (200, "local|ada")
        assert await here.who(key.reveal()) == (200, "local|ada")
        assert await here.who(theirs) == (200, "custom-user")
        assert await here.who(cookie=session.reveal()) == (200, "local|ada")
        assert await here.who("r" * 40) == (200, "root")
        assert await here.who() == (200, "anonymouz-http")


@pytest.mark.requirement("seed004.bp-testing", "A-11", "C.shown-six-kinds")
@pytest.mark.node
async def test_a_bad_one_of_each_kind_is_refused_by_its_own_verifier(tenant: Tenant, tmp_path: Path) -> None:
    async with platform(tenant, tmp_path) as here:
        good = tenant.token(alg="RS256")
        forged = jwt.encode(jwt.decode(minted_elsewhere("x"), options={"verify_signature": False}), "y" * 32, "HS256")
        assert await here.who("custom-and-nobody-made-it") == (401, "Invalid token")
        for bad in (good[:-6] + "AAAAAA", forged, f"vk_{'a' * 22}_{'b' * 43}_cccccc"):
            status, detail = await here.who(bad)
            assert status == 401
            assert detail != "Invalid token"  # the parser's text: it was not asked
        assert (await here.who(cookie="not a session"))[0] == 401
