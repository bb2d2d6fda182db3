"""Seconds of one GET of 2 KB from a server on loopback (p50); prints one number.

Arguments: road (policy, vault, origin check, credential, scrubbing), ticket (the same, with the ticket looked up and
the audit log written before), door (that asked of our server over HTTP) or httpx2 (bare); the store: in_memory or
sqlite.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import httpx2

from valetkey.adapters.serving import Listener
from valetkey.entrypoints.app import build_app
from valetkey.model.caller import OURS, Owner
from valetkey.model.calls import BEARER, TICKET, Call, Presented
from valetkey.model.connections import Credential, Grant
from valetkey.model.needs import PUBLIC, Need, Needs
from valetkey.model.services import Registered
from valetkey.model.tokens import TokenKind
from valetkey.model.users import UserInfo, create_scope
from valetkey.secret import Secret
from valetkey.services.sight import Who
from valetkey.settings.pocket import Config
from valetkey.settings.sections import Identity, Rate, Serving
from valetkey.tools.proxy import ProxyRequest, ProxyTool
from valetkey.wiring import build
from valetkey.wiring.identity import open_identity
from valetkey.wiring.serving import adopt
from valetkey.wiring.via import open_loans, proxy_road

CALLS = 2000
BODY = b'{"entries": "' + b"x" * 2034 + b'"}'
TOKEN = "ldg-token-0123456789abcdefghijklmnop"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)
PROVIDER = """
title = "Ledger"
docs = "https://ledger.example/docs"
origins = ["{url}"]
[handlers.ledger-token]
kind = "token"
default = true
variables = {{ LEDGER_TOKEN = "access_token" }}
fields = [{{ name = "access_token", label = "Token" }}]
"""


class Upstream(asyncio.Protocol):
    """Answers each request, and looks whether it has the credential."""

    def connection_made(self, transport):
        """Somebody is there."""
        self.transport = transport
        self.held = b""

    def data_received(self, data):
        """Answer each request that is whole."""
        self.held += data
        while b"\r\n\r\n" in self.held:
            head, _, self.held = self.held.partition(b"\r\n\r\n")
            known = f"Bearer {TOKEN}".encode() in head
            self.transport.write(HEAD + BODY if known else b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")


async def upstream():
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def served(url, store, *, audit=True):
    """A server with that provider, somebody's account there, and what a service was lent for a call of theirs."""
    Path("valetkey_providers").mkdir()
    Path("valetkey_providers/ledger.toml").write_text(PROVIDER.format(url=url), "utf-8")
    system = build.build(Config.load(Path.cwd(), {}, **{"session.session_type": store}), folder=Path.cwd())
    adopt(system)
    doors = []

    async def door(scope, receive, send):
        await doors[0](scope, receive, send)

    listener = Listener(door, host="127.0.0.1", port=0, setting="none")
    await listener.start()
    base = f"http://127.0.0.1:{listener.port}"
    identity = open_identity(system, Identity(audit=audit), base_url=base)
    often = Rate(per_second=1e6, burst=1_000_000)
    doors.append(build_app(identity, serving=Serving(rate=often, signed_in_rate=often), base_url=base))
    owner = Owner(workspace="ws-user-bob", issuer=OURS, subject="bob")
    handler = system.handling.find("ledger-token", None)
    grant = Grant(credential=Credential(access_token=Secret(TOKEN)))
    await system.keeper.keep(grant, handler, owner, profile="default", asked=frozenset())
    user = UserInfo(id="bob", roles=[], scope=create_scope({"ws-user-bob": "a"}))
    secret, _ = await identity.tokens.issue(TokenKind.API_KEY, user, owner)
    caller = await identity.chain.identify(Presented(scheme=BEARER, value=secret))
    service = Registered(
        workspace="ws-user-bob",
        client="c",
        id="sums",
        registrant=(OURS, "bob"),
        needs=Needs(((Need(provider="ledger"),),)),
    )
    loans = open_loans(identity, base_url=lambda: base)
    loan = await loans.lend(service, Who(caller=caller, workspace="ws-user-bob"))
    return system, identity, loan.told["via"]["ledger"]


async def road(url, store):
    return await down_the_road(url, store, audit=False, again=False)


async def ticket(url, store):
    return await down_the_road(url, store, audit=True, again=True)


async def down_the_road(url, store, *, audit, again):

    system, identity, lent = await served(url, store, audit=audit)
    way = proxy_road(identity)
    presented = Presented(scheme=TICKET, value=Secret(lent["token"]))
    headers = {"accept": "application/json"}

    known = await way.chain.identify(presented)

    async def call():
        caller = await way.chain.identify(presented) if again else known
        tool = ProxyTool(
            name="ws-user-bob/sums",
            provider="ledger",
            request=ProxyRequest(method="GET", host="", path="/entries", headers=headers),
            streamer=system.fetcher,
            finder=system.handling,
        )
        asked = Call(tool=tool.name, needs=PUBLIC, profile="default", entrance="proxy", deadline=30.0)
        answer = (await way.go(caller, tool, asked)).value
        body = b"".join([piece async for piece in answer.pieces()])
        await answer.aclose()
        return body

    return call


async def door(url, store):
    _, _, lent = await served(url, store)
    client = httpx2.AsyncClient(trust_env=False, headers={"authorization": f"Bearer {lent['token']}"})

    async def call():
        return (await client.get(f"{lent['url']}/entries")).content

    return call


async def bare(url, _):
    client = httpx2.AsyncClient(trust_env=False, headers={"authorization": f"Bearer {TOKEN}"})

    async def call():
        return (await client.get(f"{url}/entries")).content

    return call


async def main(url: str, how: str, store: str = "in_memory") -> None:
    call = await {"road": road, "ticket": ticket, "door": door, "httpx2": bare}[how](url, store)
    assert await call() == BODY
    took = []
    for number in range(CALLS + CALLS // 4):
        began = time.perf_counter()
        await call()
        if number >= CALLS // 4:
            took.append(time.perf_counter() - began)
    print(json.dumps(statistics.median(took)))


def beside() -> None:
    """The provider in a process of its own, and the calls in this one."""
    other = subprocess.Popen([sys.executable, __file__, "upstream"], stdout=subprocess.PIPE, text=True)
    try:
        asyncio.run(main(f"http://127.0.0.1:{int(other.stdout.readline())}", *sys.argv[1:]))
    finally:
        other.terminate()
        other.wait()


if sys.argv[1] == "upstream":
    asyncio.run(upstream())
else:
    beside()
