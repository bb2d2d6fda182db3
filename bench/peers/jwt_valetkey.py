"""Tokens per second to a UserInfo; prints one number. Arguments: algorithm, tokens, once or again.

Once: each token by the verifier of its issuer, which is what the others have. Again: one token by the whole chain.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from valetkey.adapters.local_messages import LocalWakeups
from valetkey.adapters.memory_tokens import MemoryStops
from valetkey.adapters.system import SystemClock
from valetkey.errors import Unauthenticated
from valetkey.identity.chain import Chain
from valetkey.identity.issuers import TrustedIssuer
from valetkey.identity.verifiers.foreign import Foreign
from valetkey.model.calls import Presented
from valetkey.model.stops import Stop, StopKind
from valetkey.oauth.keys import IssuerKeys
from valetkey.ports.world import Response
from valetkey.protocol.jwt import fingerprint
from valetkey.secret import Secret
from valetkey.stops import Stops

TIMES = 20_000


class Published:
    """The issuer's set of keys."""

    def __init__(self, jwk):
        self.body = json.dumps({"keys": [jwk]}).encode()

    async def fetch(self, _):
        """Answer with it."""
        return Response(status=200, headers=(("content-type", "application/json"),), body=self.body)


async def main(alg, path, kind):
    told = json.loads(Path(path).read_text("utf-8"))
    issuer = TrustedIssuer(
        alias="auth0",
        issuer=told["issuer"],
        audiences=frozenset({told["audience"]}),
        algorithms=frozenset({alg}),
        jwks_url=told["issuer"] + "jwks",
        namespace=told["namespace"],
        plain_ids=True,
    )
    clock = SystemClock()
    stops = Stops(store=MemoryStops(), clock=clock, wakeups=LocalWakeups())
    foreign = Foreign([issuer], IssuerKeys(Published(told[alg]["jwk"]), clock=clock), clock=clock)
    chain = Chain([foreign], stops=stops, clock=clock)
    shown = [Presented(scheme="bearer", value=Secret(text)) for text in told[alg]["tokens"]]
    ask = foreign.verify
    if kind == "again":
        shown, ask = shown[:1] * TIMES, chain.identify
    for presented in shown[: len(shown) // 5]:
        user = (await ask(presented)).user
        assert user.email.endswith("@example.com")
        assert user.roles == ["editor", "reader"]
    began = time.perf_counter()
    for presented in shown:
        await ask(presented)
    rate = len(shown) / (time.perf_counter() - began)
    await stops.put(Stop(kind=StopKind.TOKEN, target=fingerprint(told[alg]["tokens"][0]), created_at=clock.now()))
    try:
        await chain.identify(shown[0])
    except Unauthenticated:
        print(json.dumps(rate))


asyncio.run(main(*sys.argv[1:]))
