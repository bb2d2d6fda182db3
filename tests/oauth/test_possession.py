"""Tokens that are bound to a key of ours (RFC 9449), as we ask for them and use them."""

import base64
import hashlib
import json
import time
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.connections.kit import KEY, world
from tests.oauth import test_flows as flows
from tests.oauth.fakes import Dice, Settings, Wire, answer, provider, tokens
from tests.real.oidc import Oidc
from valetkey.adapters.system import SystemEntropy
from valetkey.connections.handler import Flow
from valetkey.connections.handlers.client_credentials import ClientCredentialsHandler
from valetkey.connections.handlers.oauth2 import OAuth2Handler
from valetkey.connections.handlers.token_exchange import TokenExchangeHandler
from valetkey.connections.whose import Whose
from valetkey.errors import InvalidSetting
from valetkey.model.caller import Caller, Owner
from valetkey.model.connections import Connection, Credential, Grant
from valetkey.ports.world import Request, Trust
from valetkey.providers.base import ClientAuth, Endpoint, Userinfo
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock
from valetkey.vault.keyring import Keyring
from valetkey.vault.seal import Sealer

node, oidc_process, oidc, fetcher = flows.node, flows.oidc_process, flows.oidc, flows.fetcher
OWNER = Owner(workspace="w", issuer="host", subject="x")


def part(proof, place):
    text = proof.split(".")[place]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def proofs(wire):
    return [request.headers["DPoP"] for request in wire.requests]


def bound(**members):
    return tokens(token_type="DPoP", refresh_token="rt-1", **members)


def handler(wire, **changed):
    named = provider(dpop=True, **changed)
    settings = Settings(client_id="app", client_secret=Secret("s3cret"))
    made = world(settings.clients, wire, Dice(), ManualClock(start=1_750_000_000.0))
    return OAuth2Handler(provider=named, entry=named.handlers[0], world=made)


def flow(*scopes):
    return Flow(state="st", owner=OWNER, profile="p", scopes=frozenset(scopes), redirect_uri="https://a/cb", pages="")


async def granted(made):
    begun = await made.begin(flow("read"))
    return begun, await made.finish(flow("read"), begun.private, {"code": "c-1"})


@pytest.mark.requirement("G-21")
async def test_a_proof_says_what_it_is_for_and_its_key_is_told_in_the_link():
    wire = Wire(bound(), bound())
    made = handler(wire)
    begun, grant = await granted(made)
    await made.refresh(grant.credential, frozenset({"read"}))
    first, second = proofs(wire)
    head, told = part(first, 0), part(first, 1)
    assert (head["typ"], head["alg"], head["jwk"]["crv"]) == ("dpop+jwt", "ES256", "P-256")
    assert head["jwk"].keys() == {"kty", "crv", "x", "y"}, "the public half only"
    assert (told["htm"], told["htu"], told["iat"]) == ("POST", wire.requests[0].url, 1_750_000_000)
    assert "ath" not in told
    assert part(second, 0)["jwk"] == head["jwk"], "a refresh is by the same key"
    assert part(second, 1)["jti"] != told["jti"]
    members = json.dumps(head["jwk"], separators=(",", ":"), sort_keys=True).encode()
    thumbprint = base64.urlsafe_b64encode(hashlib.sha256(members).digest()).decode().rstrip("=")
    assert dict(parse_qsl(urlsplit(begun.url).query))["dpop_jkt"] == thumbprint


@pytest.mark.requirement("G-21")
async def test_what_is_lent_proves_each_request_and_never_as_a_bearer_token():
    made = handler(Wire(tokens(token_type="DPoP", access_token="at-1")))
    _, grant = await granted(made)
    loan = made.loan(grant.credential)
    assert {name: value.reveal() for name, value in loan.headers.items()} == {"Authorization": "DPoP at-1"}
    proof = loan.prover.headers("get", "https://api.example/v1/me?fields=all#x")["DPoP"]
    told = part(proof, 1)
    assert (told["htm"], told["htu"]) == ("GET", "https://api.example/v1/me")
    assert told["ath"] == base64.urlsafe_b64encode(hashlib.sha256(b"at-1").digest()).decode().rstrip("=")


@pytest.mark.requirement("O-28")
async def test_a_bearer_token_is_not_taken_where_a_bound_one_was_asked_for():
    with pytest.raises(InvalidSetting, match="of type 'Bearer'; expected dpop"):
        await granted(handler(Wire(tokens(token_type="Bearer"))))


@pytest.mark.requirement("G-22")
async def test_a_nonce_is_tried_once_and_kept_for_that_server():
    refused = answer({"error": "use_dpop_nonce"}, status=400, **{"dpop-nonce": "n-1"})
    wire = Wire(refused, bound(), bound())
    made = handler(wire)
    _, grant = await granted(made)
    await made.refresh(grant.credential, frozenset())
    assert [part(proof, 1).get("nonce") for proof in proofs(wire)] == [None, "n-1", "n-1"]
    assert len({part(proof, 1)["jti"] for proof in proofs(wire)}) == 3
    elsewhere = made.loan(grant.credential).prover.headers("GET", "https://other.example/")["DPoP"]
    assert "nonce" not in part(elsewhere, 1)


@pytest.mark.requirement("G-22")
async def test_a_server_that_always_wants_another_nonce_is_asked_twice_and_no_more():
    answers = [answer({"error": "use_dpop_nonce"}, status=400, **{"dpop-nonce": f"n-{n}"}) for n in range(5)]
    wire = Wire(*answers)
    with pytest.raises(Exception, match="use_dpop_nonce"):
        await granted(handler(wire))
    assert len(wire.requests) == 2


async def test_a_nonce_that_is_none_is_not_kept():
    wire = Wire(answer({"error": "use_dpop_nonce"}, status=400, **{"dpop-nonce": 'a"b\n'}))
    with pytest.raises(Exception, match="use_dpop_nonce"):
        await granted(handler(wire))
    assert len(wire.requests) == 1


@pytest.mark.requirement("G-24")
async def test_each_connection_has_a_key_of_its_own_sealed_with_it_and_another_after_reconnecting(sealer):
    made = handler(Wire(bound(), bound()))
    _, first = await granted(made)
    _, again = await granted(made)
    keys = [grant.credential.dpop_key.reveal() for grant in (first, again)]
    assert keys[0] != keys[1]
    place = {"connection_id": "c" * 32, "owner": OWNER, "provider": "example", "generation": 1}
    sealed = sealer.seal_credential(first.credential, **place, kept=True)
    assert keys[0].encode() not in sealed
    assert keys[0] not in repr(first)
    held = Connection(
        id="c" * 32,
        owner=OWNER,
        provider="example",
        handler="example-oauth2",
        profile="p",
        scopes=frozenset(),
        sealed=sealed,
    )
    assert sealer.open_credential(held) == first.credential


@pytest.fixture
def sealer():
    return Sealer(Keyring(KEY, ticks=ManualClock().monotonic), Dice())


@pytest.mark.requirement("G-21")
async def test_a_bound_token_is_refreshed_with_a_proof_at_a_refresh_endpoint_of_its_own():
    wire = Wire(bound(), bound())
    made = handler(wire, refresh=Endpoint("https://as.test/refresh"))
    _, grant = await granted(made)
    await made.refresh(grant.credential, frozenset({"read"}))
    assert wire.requests[-1].url == "https://as.test/refresh"
    assert "DPoP" in wire.requests[-1].headers


@pytest.mark.requirement("G-22")
async def test_whose_a_bound_token_is_is_asked_again_with_the_nonce_that_the_api_wants():
    wire = Wire(
        answer({"error": "use_dpop_nonce"}, 401, **{"dpop-nonce": "n-1"}),
        answer({"sub": "ada", "name": "Ada"}),
    )
    named = provider(dpop=True)
    asked = Userinfo(url=Endpoint("https://as.test/userinfo", operator=True), account=("name",), subject="sub")
    entry = replace(named.handlers[0], userinfo=asked)
    named = replace(named, handlers=(entry,))
    made = OAuth2Handler(provider=named, entry=entry, world=world(Settings().clients, wire, Dice(), ManualClock()))
    grant = Grant(
        credential=Credential(access_token=Secret("at-1"), token_type="dpop", dpop_key=Secret("seed")), scopes=None
    )
    assert (await Whose(wire).told(grant, made)).account == "Ada"


@pytest.mark.requirement("G-21")
async def test_an_exchanged_token_is_bound_where_settings_want_bound_tokens():
    wire = Wire(tokens(token_type="DPoP", issued_token_type="urn:ietf:params:oauth:token-type:access_token"))
    named = provider()
    (own,) = named.handlers
    assert own.oauth2 is not None
    made = TokenExchangeHandler(
        provider=named,
        entry=replace(own, oauth2=replace(own.oauth2, dpop=True)),
        world=world(Settings(dpop=True).clients, wire, Dice(), ManualClock()),
    )
    owner = Owner(workspace="w", issuer="i", subject="ada")
    caller = Caller(owner=owner, how="foreign", until=1e12, bearer=Secret("bearer"))
    await made.finish(replace(flow("read"), caller=caller), {}, {})
    assert "DPoP" in wire.requests[0].headers


@pytest.mark.node
class TestOidcProvider:
    """A certified server judges our proofs: at its token endpoint, and at its user info."""

    def journey(self, oidc, fetcher):
        named = flows.at_oidc(oidc, ClientAuth.BASIC)
        (entry,) = named.handlers
        assert entry.oauth2 is not None
        bound_one = replace(named, handlers=(replace(entry, oauth2=replace(entry.oauth2, dpop=True)),))
        oidc.allow(flows.CALLBACK)
        known = Oidc.basic
        clock = ManualClock(start=time.time())
        journey = flows.Journey(bound_one, fetcher, clock, client_id=known.id, client_secret=Secret(known.secret or ""))
        # The server remembers the ids of proofs; those of our dice begin anew with each test.
        journey.handler.world = replace(journey.handler.world, entropy=SystemEntropy())
        return journey

    async def ask(self, fetcher, oidc, made, credential, *, method="GET", said="GET", loan=None):
        loan = loan or made.loan(credential)
        url = f"{oidc.issuer}/me"
        headers = {name: value.reveal() for name, value in loan.headers.items()} | loan.prover.headers(said, url)
        return await fetcher.fetch(Request(method=method, url=url, trust=Trust.OPERATOR, headers=headers))

    @pytest.mark.requirement("G-21", "G-22")
    @pytest.mark.parametrize("nonce", [False, True])
    async def test_connect_refresh_and_use(self, oidc, fetcher, nonce):
        journey = self.journey(oidc, fetcher)
        oidc.nonce(required=nonce)
        flow, private, url = await journey.begin("openid", "offline_access")
        first = await journey.finish(flow, private, oidc.consent(url))
        assert first.credential.token_type == "dpop"
        second = await journey.handler.refresh(first.credential, first.scopes)
        made = journey.handler
        answered = await self.ask(fetcher, oidc, made, second.credential)
        if nonce and answered.status == 401:
            loan = made.loan(second.credential)
            assert loan.prover.hear(f"{oidc.issuer}/me", answered.header("dpop-nonce"))
            answered = await self.ask(fetcher, oidc, made, second.credential)
        assert answered.status == 200, answered.body
        assert "sub" in json.loads(answered.body)
        wrong = await self.ask(fetcher, oidc, made, second.credential, said="POST")
        assert wrong.status in (400, 401)
        assert b"invalid_dpop_proof" in (wrong.header("www-authenticate") or "").encode() + wrong.body

    @pytest.mark.requirement("G-21")
    async def test_another_key_does_not_use_the_token(self, oidc, fetcher):
        journey = self.journey(oidc, fetcher)
        flow, private, url = await journey.begin("openid")
        grant = await journey.finish(flow, private, oidc.consent(url))
        stolen: Credential = replace(grant.credential, dpop_key=Secret("another"))
        assert (await self.ask(fetcher, oidc, journey.handler, stolen)).status == 401

    @pytest.mark.requirement("G-21")
    async def test_the_programs_own_account_is_bound_too(self, oidc, fetcher):
        settings = Settings(client_id=Oidc.basic.id, client_secret=Secret(Oidc.basic.secret or ""))
        named = flows.at_oidc(oidc, ClientAuth.BASIC)
        (own,) = named.handlers
        assert own.oauth2 is not None
        bound_one = replace(named, handlers=(replace(own, oauth2=replace(own.oauth2, dpop=True)),))
        entry = bound_one.handler("example-client-credentials")
        assert entry is not None
        made = world(settings.clients, fetcher, SystemEntropy(), ManualClock(start=time.time()))
        handler = ClientCredentialsHandler(provider=bound_one, entry=entry, world=made)
        grant = await handler.finish(flow("mail.read"), {}, {})
        assert (grant.credential.token_type, bool(grant.credential.dpop_key)) == ("dpop", True)
        assert handler.loan(grant.credential).prover is not None
