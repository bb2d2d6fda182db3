"""Tokens that are bound to a key (RFC 9449), as they reach us."""

import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey
from starlette.requests import Request

from tests.identity.jwt_kit import NOW, OTHER_EC, World, b64, jwks, raw, token, trusted
from valetkey.adapters.local_messages import LocalCounters, LocalWakeups
from valetkey.adapters.memory_tokens import MemoryStops
from valetkey.entrypoints.web import api
from valetkey.entrypoints.web.presented import presented
from valetkey.errors import Unauthenticated
from valetkey.identity.chain import Chain
from valetkey.identity.verifiers.foreign import Foreign
from valetkey.oauth.keys import IssuerKeys
from valetkey.stops import Stops
from valetkey.testing.clock import ManualClock

KEY = ec.generate_private_key(ec.SECP256R1())
URL = "https://tools.test/mcp/call"


def public(key=KEY):
    return ECKey.import_key(key).as_dict(private=False)


def thumb(jwk):
    members = json.dumps({name: jwk[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":"), sort_keys=True)
    return b64(hashlib.sha256(members.encode()).digest())


def proof(text, *, key=KEY, header=None, alg="ES256", **changed):
    """Written here by RFC 9449 §4.2, not by the code under test; ``...`` takes a claim out."""
    head = {"typ": "dpop+jwt", "alg": alg, "jwk": public(key)} | (header or {})
    told = {"htm": "GET", "htu": URL, "iat": NOW, "jti": "proof-1", "ath": b64(hashlib.sha256(text.encode()).digest())}
    told = {name: value for name, value in (told | changed).items() if value is not ...}
    return raw(json.dumps(head), json.dumps(told), alg="ES256", key=key)


class Door:
    """Requests, the way that they take to the chain, and two instances that share their counts."""

    def __init__(self):
        self.clock = ManualClock(NOW)
        counters = LocalCounters(ticks=self.clock.monotonic)
        self.chains = [self.chain(counters) for _ in range(2)]

    def chain(self, counters):
        keys = IssuerKeys(World({f"{trusted().issuer}jwks": jwks()}), clock=self.clock)
        stops = Stops(store=MemoryStops(), clock=self.clock, wakeups=LocalWakeups())
        foreign = Foreign([trusted()], keys, clock=self.clock, counters=counters)
        return Chain([foreign], stops=stops, clock=self.clock)

    async def get(self, text, *proofs, url=URL, method="GET", scheme="DPoP", instance=0, raw=""):
        scheme_of_url, _, rest = url.partition("://")
        host, _, path = rest.partition("/")
        path, _, query = path.partition("?")
        headers = [(b"host", host.encode()), (b"authorization", f"{scheme} {text}".encode())]
        headers += [(b"dpop", each.encode()) for each in proofs]
        scope = {"type": "http", "method": method, "scheme": scheme_of_url, "path": f"/{path}", "headers": headers}
        if raw:
            scope["raw_path"] = b"/" + raw.split("/", 3)[3].encode()
        request = Request(scope | {"query_string": query.encode(), "server": (host, 443), "client": ("10.0.0.1", 1)})
        return await self.chains[instance].identify(await presented(request, secure=True))


@pytest.fixture
def door():
    return Door()


def bound(**changed):
    return token(cnf={"jkt": thumb(public())}, **changed)


@pytest.mark.requirement("G-23")
async def test_a_bound_token_is_good_with_a_proof_for_this_request(door):
    text = bound()
    caller = await door.get(text, proof(text), url=f"{URL}?page=2")
    assert caller.principal == (trusted().issuer, "ada")


@pytest.mark.requirement("G-23")
@pytest.mark.parametrize(
    "wrong",
    [
        {"htm": "POST"},
        {"htu": "https://tools.test/mcp/other"},
        {"htu": "https://evil.test/mcp/call"},
        {"htu": 7},
        {"ath": b64(hashlib.sha256(b"another").digest())},
        {"ath": ...},
        {"iat": NOW - 301},
        {"iat": NOW + 301},
        {"iat": True},
        {"iat": 10**400},
        {"iat": ...},
        {"jti": ""},
        {"jti": ...},
        {"header": {"typ": "JWT"}},
        {"header": {"alg": "none"}},
        {"header": {"alg": "HS256"}},
        {"header": {"jwk": ECKey.import_key(KEY).as_dict(private=True)}},
        {"header": {"jwk": public(OTHER_EC)}},
        {"header": {"jwk": {"kty": "oct", "k": "c2VjcmV0"}}},
        {"header": {"jwk": "text"}},
        {"key": OTHER_EC},
    ],
    ids=lambda wrong: f"{next(iter(wrong))}",
)
async def test_a_proof_that_is_not_for_it_is_refused(door, wrong):
    text = bound()
    with pytest.raises(Unauthenticated, match="invalid_dpop_proof"):
        await door.get(text, proof(text, **wrong))


@pytest.mark.requirement("G-23")
async def test_a_proof_is_good_once_on_whichever_instance(door):
    text = bound()
    await door.get(text, proof(text))
    for instance in (0, 1):
        with pytest.raises(Unauthenticated, match="used before"):
            await door.get(text, proof(text), instance=instance)
    await door.get(text, proof(text, jti="proof-2"), instance=1)


@pytest.mark.requirement("G-23")
async def test_none_and_two_proofs_are_refused(door):
    text = bound()
    for proofs in ((), (proof(text), proof(text, jti="proof-2")), ("garbage",)):
        with pytest.raises(Unauthenticated, match="invalid_dpop_proof"):
            await door.get(text, *proofs)


@pytest.mark.requirement("G-23")
async def test_a_bound_token_is_no_bearer_token_and_a_bearer_token_is_not_bound(door):
    text = bound()
    with pytest.raises(Unauthenticated, match="bound to a key"):
        await door.get(text, proof(text), scheme="Bearer")
    plain = token()
    with pytest.raises(Unauthenticated, match="not bound"):
        await door.get(plain, proof(plain))
    double = token(cnf={"jkt": thumb(public()), "x5t#S256": "abc"})
    with pytest.raises(Unauthenticated, match="not bound"):
        await door.get(double, proof(double, jti="proof-3"))


@pytest.mark.requirement("G-23")
async def test_a_path_is_compared_as_the_client_wrote_it(door):
    text, url = bound(), "https://tools.test/via/github/a%20b/contents"
    caller = await door.get(text, proof(text, htu=url), url="https://tools.test/via/github/a b/contents", raw=url)
    assert caller.principal == (trusted().issuer, "ada")


async def test_a_verdict_on_a_bound_token_is_not_remembered(door):
    text = bound()
    await door.get(text, proof(text))
    with pytest.raises(Unauthenticated, match="invalid_dpop_proof"):
        await door.get(text, "x.y.z")


@pytest.mark.requirement("G-23")
def test_the_challenge_names_the_proof():
    said = api.challenge(Unauthenticated("invalid_dpop_proof: this proof was used before."), presented=True)
    assert said.startswith('DPoP error="invalid_dpop_proof", error_description="this proof')
