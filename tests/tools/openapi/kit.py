"""Documents, what is lent, and a Fetcher that remembers, for the tests of OpenAPI tools."""

import asyncio
from typing import Any

from valetkey.connections.session_credential import SESSION
from valetkey.model.caller import Caller, Owner
from valetkey.model.calls import Allowed, Call, Connected, Lent, Loan
from valetkey.model.connections import Connection, Sealed
from valetkey.ports.world import Request, Response
from valetkey.secret import Secret
from valetkey.tools.openapi.api import OpenApi
from valetkey.tools.openapi.tool import OpenApiTool

BASE = "https://api.example.com/v1"


class Remembers:
    """Answers every request alike, and keeps them."""

    def __init__(self, response: Response | None = None) -> None:
        self.requests: list[Request] = []
        self.response = response or Response(
            status=200, headers=(("content-type", "application/json"),), body=b'{"ok":true}'
        )

    async def fetch(self, request: Request) -> Response:
        self.requests.append(request)
        return self.response


def document(paths: dict[str, Any], *, version: str = "3.1.0", **more: Any) -> dict[str, Any]:
    return {"openapi": version, "info": {"title": "T", "version": "1"}, "paths": paths, **more}


def api(given: dict[str, Any], exchange: Any = None, **settings: Any) -> OpenApi:
    return OpenApi(
        document=lambda: given,
        exchange=exchange or Remembers(),
        **{"base_url": BASE, "in_process": False, **settings},
    )


def operation(path: str = "/items", method: str = "get", *, about: Any = None, **settings: Any) -> OpenApiTool:
    """The tool of one operation, alone in its document."""
    exchange = settings.pop("exchange", None)
    tools = api(document({path: {method: about or {}}}, **settings), exchange).tools()
    (tool,) = tools.values()
    return tool


def param(name: str, place: str = "query", schema: Any = None, **more: Any) -> dict[str, Any]:
    required = {"required": True} if place == "path" else {}
    return {"name": name, "in": place, "schema": schema or {"type": "string"}, **required, **more}


def json_body(schema: Any, *, required: bool = True, media: str = "application/json") -> dict[str, Any]:
    return {"requestBody": {"required": required, "content": {media: {"schema": schema}}}}


OWNER = Owner(workspace="chat", issuer="host", subject="s")


def connection(handler: str, provider: str = SESSION) -> Connection:
    return Connection(
        id="c",
        owner=OWNER,
        provider=provider,
        handler=handler,
        profile="default",
        scopes=frozenset(),
        sealed=Sealed(b""),
        generation=1,
        issued_at=0,
        created_at=0,
        updated_at=0,
    )


def lent(
    tool: OpenApiTool,
    *loans: Loan,
    providers: tuple[str, ...] = (),
    origins: frozenset[str] = frozenset(),
    deadline: float = 5.0,
) -> Lent:
    """What the road would lend: one connection for each loan."""
    names = providers or (SESSION,) * len(loans)
    held = tuple(connection(loan.handler, name) for loan, name in zip(loans, names, strict=True))
    call = Call(tool=tool.name, needs=tool.needs, deadline=deadline)
    allowed = Allowed(caller=Caller(owner=OWNER, how="host"), call=call, rule="t")
    return Lent(connected=Connected(allowed=allowed, connections=held), loans=loans, origins=origins)


def bearer(value: str = "t0ken") -> Loan:
    return Loan(
        handler="session-bearer_token", headers={"Authorization": Secret(f"Bearer {value}")}, token=Secret(value)
    )


def basic() -> Loan:
    return Loan(handler="session-basic_auth", headers={"Authorization": Secret("Basic dTpw")})


def api_key(value: str = "k3y", header: str = "X-API-Key") -> Loan:
    return Loan(handler="session-api_key", headers={header: Secret(value)}, token=Secret(value))


def custom(**headers: str) -> Loan:
    named = {name.replace("_", "-"): Secret(value) for name, value in headers.items()}
    return Loan(handler="session-custom", headers=named)


async def sent(tool: OpenApiTool, arguments: dict[str, Any] | None = None, *loans: Loan, **how: Any) -> Request:
    """Call the tool; the request that went out."""
    exchange = tool.target.exchange
    assert isinstance(exchange, Remembers)
    await tool.run(lent(tool, *loans, **how), tool.bind(arguments or {}))
    return exchange.requests[-1]


def target_of(request: Request) -> str:
    """Path and query below the base."""
    assert request.url.startswith(BASE)
    return request.url[len(BASE) :]


def sent_now(tool: OpenApiTool, arguments: dict[str, Any] | None = None) -> Request:
    return asyncio.run(sent(tool, arguments))
