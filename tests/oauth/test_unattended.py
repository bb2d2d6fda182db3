"""Grants without a person, each request as it goes out: rows G-11, G-14, G-16, G-17, G-20, L-19 and L-20."""

import base64
import json
from dataclasses import replace
from typing import Any
from urllib.parse import quote_plus

import jwt
import pytest

from tests.connections.kit import world
from tests.connections.test_oauth2_handler import flow
from tests.oauth.fakes import SECRET, TOKEN_URL, Dice, Settings, Wire, answer, provider, tokens
from tests.protocol.test_assertion import EC, ED, RSA, pem
from valetkey.connections.handler import Flow
from valetkey.connections.handling import KINDS, Parts
from valetkey.errors import AuthRefused, InvalidSetting, MissingSetting, ProviderUnavailable, Unauthenticated
from valetkey.model.caller import Caller, Owner
from valetkey.ports.world import Trust
from valetkey.providers.base import DERIVED, ClientAuth, Endpoint, ExchangeDialect
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock

OWNER = Owner(workspace="w", issuer="https://idp.test", subject="ada")
INBOUND = Secret("inbound-canary-77aa")
ISSUED = "urn:ietf:params:oauth:token-type:access_token"


class Room:
    """Handlers over one wire, by how their names end."""

    def __init__(self, *answers: Any, settings: Settings | None = None, **dialect: Any) -> None:
        self.clock = ManualClock()
        self.wire = Wire(*answers)
        self.settings = settings or Settings()
        self.provider = provider(**dialect)
        self.clients = self.settings.clients
        self.world = world(self.clients, self.wire, Dice(), self.clock)

    def handler(self, ending: str, of: Any = None) -> Any:
        held = of or self.provider
        entry: Any = held.handler(f"{held.name}-{ending}")
        return KINDS[DERIVED[ending]](Parts(world=self.world, environ={}), held, entry)

    async def obtain(self, ending: str, *scopes: str, caller: Caller | None = None, of: Any = None) -> Any:
        flow = Flow(
            state="",
            owner=OWNER,
            profile="default",
            scopes=frozenset(scopes),
            redirect_uri="",
            pages="",
            caller=caller,
        )
        return await self.handler(ending, of).finish(flow, {}, {})

    def caller(self, bearer: Secret | None = INBOUND, left: float | None = 600.0) -> Caller:
        until = None if left is None else self.clock.now() + left
        return Caller(owner=OWNER, how="foreign", until=until, bearer=bearer)


def claims_of(text: str, private: Any = EC, algorithm: str = "ES256") -> dict[str, Any]:
    options: Any = {"verify_exp": False, "verify_aud": False, "verify_iat": False}
    return jwt.decode(text, private.public_key(), algorithms=[algorithm], options=options)


@pytest.mark.requirement("G-11")
async def test_client_credentials_ask_for_the_need_s_scopes_and_keep_no_refresh_token():
    room = Room(tokens(refresh_token="rt-1", scope="a b", expires_in=60), scope_separator=",")
    room.settings.set(
        "example", client_id="id-1", client_secret=SECRET, audience="https://api.test", resource="https://r.test"
    )
    grant = await room.obtain("client-credentials", "b", "a")
    assert room.wire.forms() == [
        {
            "grant_type": "client_credentials",
            "scope": "a,b",
            "client_id": "id-1",
            "client_secret": SECRET.reveal(),
            "audience": "https://api.test",
            "resource": "https://r.test",
        }
    ]
    assert grant.credential.refresh_token is None
    assert grant.credential.access_token == Secret("at-1")
    assert (grant.scopes, grant.expires_at, grant.account) == ({"a", "b"}, room.clock.now() + 60, "id-1")


@pytest.mark.requirement("G-13")
async def test_an_id_and_a_secret_are_form_encoded_before_basic():
    odd = ": % + space ü"
    room = Room(tokens(), client_auth=ClientAuth.BASIC)
    room.settings.set("example", client_id=odd, client_secret=Secret(odd))
    await room.obtain("client-credentials")
    coded = dict(room.wire.requests[0].headers)["authorization"].removeprefix("Basic ")
    assert base64.b64decode(coded).decode() == f"{quote_plus(odd)}:{quote_plus(odd)}"
    assert room.wire.forms() == [{"grant_type": "client_credentials"}]


async def test_a_client_that_proves_nothing_is_not_sent_and_more_than_was_asked_for_is_not_kept():
    room = Room()
    room.settings.set("example", client_id="id-1")
    with pytest.raises(InvalidSetting, match=r"auth\.example\.client_secret is not set"):
        await room.obtain("client-credentials")
    assert room.wire.requests == []
    room = Room(tokens(scope="a admin"), answer({}))
    with pytest.raises(InvalidSetting, match="more than was asked for: admin"):
        await room.obtain("client-credentials", "a")
    assert room.wire.forms()[1]["token"] == "at-1", "what is not kept is revoked"


async def test_each_kind_of_refusal_says_who_has_to_do_something():
    for status, members, kind, said in (
        (401, {"error": "invalid_client"}, InvalidSetting, r"client_id and client_secret of auth\.example"),
        (400, {"error": "invalid_scope"}, InvalidSetting, "invalid_scope"),
        (400, {"error": "invalid_target"}, InvalidSetting, r"auth\.example\.resource"),
        (503, {}, ProviderUnavailable, "503"),
    ):
        room = Room(answer(members, status))
        with pytest.raises(kind, match=said):
            await room.obtain("client-credentials")


@pytest.mark.requirement("G-14")
async def test_private_key_jwt_is_made_anew_for_each_request_by_every_kind_of_key():
    for private, algorithm in ((EC, "ES256"), (RSA, "RS256"), (ED, "EdDSA")):
        room = Room(tokens(), tokens(), client_auth=ClientAuth.PRIVATE_KEY_JWT)
        room.settings.set("example", client_id="id-1", private_key=pem(private), key_id="k1")
        for _ in range(2):
            await room.obtain("client-credentials", "a")
        forms = room.wire.forms()
        seen = [claims_of(form["client_assertion"], private, algorithm) for form in forms]
        assert seen[0]["jti"] != seen[1]["jti"]
        for form, claims in zip(forms, seen, strict=True):
            assert (claims["iss"], claims["sub"], claims["aud"]) == ("id-1", "id-1", TOKEN_URL)
            assert 0 < claims["exp"] - room.clock.now() <= 60
            assert jwt.get_unverified_header(form["client_assertion"])["kid"] == "k1"
            assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            assert form["client_id"] == "id-1"
            assert "client_secret" not in form
    room = Room(client_auth=ClientAuth.PRIVATE_KEY_JWT)
    with pytest.raises(MissingSetting, match=r"auth\.example\.private_key is not set"):
        await room.obtain("client-credentials")


@pytest.mark.requirement("L-19")
async def test_the_audience_is_the_issuer_as_one_string_whatever_token_endpoint_its_metadata_names():
    honest = "https://honest.test/token"
    proving: Any = {"client_auth": ClientAuth.PRIVATE_KEY_JWT, "issuer": "https://as.test"}
    room = Room(tokens(), token=Endpoint(honest), **proving)
    room.settings.set("example", client_id="id-1", private_key=pem(EC))
    await room.obtain("client-credentials")
    assert room.wire.requests[-1].url == honest
    assert claims_of(room.wire.forms()[-1]["client_assertion"])["aud"] == "https://as.test"
    metadata = {
        "issuer": "https://as.test",
        "authorization_endpoint": "https://as.test/authorize",
        "token_endpoint": honest,
        "response_types_supported": ["code"],
    }
    room = Room(answer(metadata), token=Endpoint(""), authorize=Endpoint(""), revoke=None, discovered=True, **proving)
    room.settings.set("example", client_id="id-1", private_key=pem(EC))
    with pytest.raises(InvalidSetting, match="at another origin"):
        await room.obtain("client-credentials")
    assert [request.method for request in room.wire.requests] == ["GET"], "nothing signed goes to the other server"


@pytest.mark.requirement("L-20")
async def test_a_key_signs_for_one_server_only_and_each_provider_signs_with_its_own():
    settings = Settings()
    room = Room(tokens(), tokens(), tokens(), settings=settings, client_auth=ClientAuth.PRIVATE_KEY_JWT)
    other = provider(client_auth=ClientAuth.PRIVATE_KEY_JWT, token=Endpoint("https://other.test/token"))
    entry = replace(other.handlers[0], name="second-oauth2")
    other = replace(other, name="second", title="Second", handlers=(entry,))
    settings.set("example", client_id="id-1", private_key=pem(EC))
    settings.set("second", client_id="id-2", private_key=pem(ED))
    await room.obtain("client-credentials")
    await room.obtain("client-credentials", of=other)
    assert claims_of(room.wire.forms()[0]["client_assertion"])["iss"] == "id-1"
    assert claims_of(room.wire.forms()[1]["client_assertion"], ED, "EdDSA")["iss"] == "id-2"
    settings.set("second", client_id="id-2", private_key=pem(EC))
    with pytest.raises(InvalidSetting, match=r"auth\.example and auth\.second sign with the same private key"):
        await room.obtain("client-credentials", of=other)
    assert len(room.wire.requests) == 2
    settings.set("example", client_id="id-1", private_key=pem(RSA))
    await room.obtain("client-credentials", of=other)  # the key moved


def key_file(**changes: Any) -> Secret:
    held = {
        "type": "service_account",
        "client_email": "robot@project.test",
        "private_key": pem(RSA).reveal(),
        "private_key_id": "kid-7",
        "token_uri": TOKEN_URL,
    }
    return Secret(json.dumps({name: value for name, value in (held | changes).items() if value is not None}))


async def test_a_key_file_signs_as_its_account_with_the_scopes_inside_and_no_client_beside():
    room = Room(tokens(), tokens())
    room.settings.set("example", service_account=key_file())
    grant = await room.obtain("service-account", "https://scope/b", "https://scope/a")
    room.settings.set("example", client_id="id-1", client_secret=SECRET, service_account=key_file(), subject="boss@p")
    await room.obtain("service-account", "https://scope/a")
    first, second = room.wire.forms()
    assert first.keys() == second.keys() == {"grant_type", "assertion"}
    assert first["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    claims = claims_of(first["assertion"], RSA, "RS256")
    assert (claims["iss"], claims["aud"]) == ("robot@project.test", TOKEN_URL)
    assert claims["scope"] == "https://scope/a https://scope/b"
    assert "sub" not in claims
    assert jwt.get_unverified_header(first["assertion"])["kid"] == "kid-7"
    assert claims_of(second["assertion"], RSA, "RS256")["sub"] == "boss@p"
    assert grant.account == "robot@project.test"


async def test_plain_parts_sign_as_the_client_for_a_user_at_the_audience_of_the_entry_or_of_settings():
    room = Room(tokens(), tokens(), assertion_audience="https://login.test")
    plain = {"client_id": "id-1", "private_key": pem(RSA), "key_id": "k1"}
    room.settings.set("example", **plain, subject="user@org")
    await room.obtain("service-account", "api")
    room.settings.set("example", **plain, client_secret=SECRET, audience="https://test.login.test")
    await room.obtain("service-account")
    first, second = room.wire.forms()
    claims = claims_of(first["assertion"], RSA, "RS256")
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("id-1", "user@org", "https://login.test")
    assert (first["scope"], first["client_id"]) == ("api", "id-1")
    claims = claims_of(second["assertion"], RSA, "RS256")
    assert (claims["sub"], claims["aud"]) == ("id-1", "https://test.login.test")
    assert second["client_secret"] == SECRET.reveal()


async def test_a_token_uri_in_the_operator_s_key_file_is_asked_and_said(caplog):
    room = Room(tokens(), tokens())
    room.settings.set("example", service_account=key_file(token_uri="https://sandbox.test/token"))
    await room.obtain("service-account")
    (sent,) = room.wire.requests
    assert (sent.url, sent.trust) == ("https://sandbox.test/token", Trust.OPERATOR)
    assert claims_of(room.wire.forms()[0]["assertion"], RSA, "RS256")["aud"] == "https://sandbox.test/token"
    assert "https://sandbox.test/token" in caplog.text
    for bad in ("http://sandbox.test/token", "file:///etc/passwd", "https://u:p@sandbox.test/"):
        room.settings.set("example", service_account=key_file(token_uri=bad))
        with pytest.raises(InvalidSetting, match=r"token_uri in auth\.example\.service_account"):
            await room.obtain("service-account")
    assert len(room.wire.requests) == 1


async def test_what_is_no_key_file_is_refused_without_a_word_of_it():
    for text in (
        "{",
        "[]",
        '{"client_email": "canary"}',
        key_file(type="external_account").reveal(),
        key_file(private_key_id=7).reveal(),
        key_file(private_key="canary-key").reveal(),
    ):
        room = Room()
        room.settings.set("example", service_account=Secret(text))
        with pytest.raises(InvalidSetting, match=r"auth\.example\.service_account") as caught:
            await room.obtain("service-account")
        assert "canary" not in str(caught.value)


async def test_an_exchange_sends_the_caller_s_own_token_and_ends_with_it():
    room = Room(tokens(issued_token_type=ISSUED, scope="a"))
    room.settings.set("example", client_id="id-1", client_secret=SECRET, audience="api", resource="https://r.test")
    grant = await room.obtain("token-exchange", "a", caller=room.caller(left=600))
    (form,) = room.wire.forms()
    assert form == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": INBOUND.reveal(),
        "subject_token_type": ISSUED,
        "requested_token_type": ISSUED,
        "audience": "api",
        "resource": "https://r.test",
        "scope": "a",
        "client_id": "id-1",
        "client_secret": SECRET.reveal(),
    }
    assert grant.expires_at == room.clock.now() + 600, "no longer than the token that it stands for"


async def test_the_on_behalf_of_dialect_sends_it_as_an_assertion():
    room = Room(tokens(), exchange=ExchangeDialect.JWT_BEARER)
    await room.obtain("token-exchange", "https://graph.test/User.Read", caller=room.caller())
    (form,) = room.wire.forms()
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert (form["assertion"], form["requested_token_use"]) == (INBOUND.reveal(), "on_behalf_of")
    assert "subject_token" not in form


@pytest.mark.requirement("G-16")
async def test_without_a_token_that_we_judged_and_that_is_good_now_nothing_is_sent():
    room = Room()
    ended = room.caller(left=0)
    for caller in (None, room.caller(bearer=None), ended, room.caller(left=None)):
        with pytest.raises(Unauthenticated):
            await room.obtain("token-exchange", caller=caller)
    assert room.wire.requests == []
    room.settings.set("example")
    with pytest.raises(MissingSetting):  # only where the operator wrote who we are
        await room.obtain("token-exchange", caller=room.caller())
    assert room.wire.requests == []


def jwt_for(*audience: str) -> str:
    told = list(audience) if len(audience) > 1 else audience[0]
    return jwt.encode({"aud": told}, "k" * 32, algorithm="HS256")


@pytest.mark.requirement("G-17")
async def test_another_type_wider_scopes_or_another_audience_is_refused_and_discarded():
    said = {"issued_token_type": ISSUED}
    for given, why in (
        ({"issued_token_type": "urn:ietf:params:oauth:token-type:id_token"}, "another type of token"),
        ({}, "another type of token"),
        ({**said, "scope": "a admin"}, "more than was asked for: admin"),
        ({**said, "access_token": jwt_for("https://elsewhere.test")}, "for somebody else"),
        ({**said, "access_token": jwt_for("https://x.test", "https://y.test")}, "for somebody else"),
        ({**said, "token_type": "N_A"}, "N_A"),
    ):
        room = Room(tokens(**given), answer({}))
        room.settings.set("example", client_id="id-1", client_secret=SECRET, audience="https://api.test")
        with pytest.raises((AuthRefused, InvalidSetting), match=why):
            await room.obtain("token-exchange", "a", caller=room.caller())
        if "N_A" not in why:
            assert len(room.wire.requests) == 2, "it is revoked"
    room = Room(tokens(**said, access_token=jwt_for("https://x.test", "https://api.test")))
    room.settings.set("example", client_id="id-1", client_secret=SECRET, audience="https://api.test")
    await room.obtain("token-exchange", "a", caller=room.caller())


async def test_a_token_that_the_provider_does_not_take_is_the_user_s_and_a_client_the_operator_s():
    for code, kind in (
        ("invalid_grant", AuthRefused),
        ("invalid_request", AuthRefused),
        ("invalid_client", InvalidSetting),
    ):
        room = Room(answer({"error": code, "error_description": f"not {INBOUND.reveal()}"}, 400))
        with pytest.raises(kind) as caught:
            await room.obtain("token-exchange", caller=room.caller())
        assert INBOUND.reveal() not in str(caught.value)


@pytest.mark.requirement("G-20")
async def test_the_resource_is_in_the_authorization_the_token_and_the_refresh_request():
    room = Room(tokens(refresh_token="rt-1"), tokens(), answer({"error": "invalid_target"}, 400))
    room.settings.set("example", client_id="id-1", client_secret=SECRET, resource="https://api.test/mcp")
    entry = room.provider.handlers[0]
    handler = KINDS[entry.kind](Parts(world=room.world, environ={}), room.provider, entry)
    begun = await handler.begin(flow())
    assert "resource=https%3A%2F%2Fapi.test%2Fmcp" in begun.url
    grant = await handler.finish(flow(), begun.private, {"code": "c-1"})
    await handler.refresh(grant.credential, frozenset())
    assert [form["resource"] for form in room.wire.forms()] == ["https://api.test/mcp"] * 2
    with pytest.raises(InvalidSetting, match=r"auth\.example\.resource"):
        await handler.refresh(grant.credential, frozenset())
    with pytest.raises(AuthRefused, match=r"auth\.example\.resource"):
        handler.judge(begun.private, [("error", "invalid_target")])
