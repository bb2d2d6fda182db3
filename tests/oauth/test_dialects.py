"""Every OAuth2 provider that we ship, driven over what its documentation shows going over the wire."""

import base64
import json
from urllib.parse import parse_qsl, unquote_plus, urlsplit

import pytest

from tests import dialects
from tests.connections.kit import world
from tests.oauth.fakes import Dice, Wire
from valetkey.connections.handler import Flow
from valetkey.connections.handlers.oauth2 import OAuth2Handler
from valetkey.errors import AuthRefused, InvalidSetting, ProviderUnavailable, RefreshFailed
from valetkey.model.caller import Owner
from valetkey.model.connections import Credential
from valetkey.oauth.clients import Clients, ClientSettings
from valetkey.ports.world import Request, Response
from valetkey.protocol.authorize import challenge_of
from valetkey.providers.registry import Registry
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock

NOW = 1_750_000_000.0
CALLBACK = "https://localhost:8001/proxy/auth/x/oauth2/callback"
ID, SECRET = "client-1", "client secret/+"
HELD = Credential(access_token=Secret("access-0"), refresh_token=Secret("refresh-0"))

MEANING = {
    ("token", "invalid_client"): InvalidSetting,
    ("refresh", "invalid_client"): InvalidSetting,
    ("token", "unauthorized_client"): InvalidSetting,
    ("refresh", "unauthorized_client"): InvalidSetting,
    ("refresh", "invalid_grant"): RefreshFailed,
}


@pytest.fixture(params=dialects.ALL)
def dialect(request):
    return dialects.load(request.param)


def response(answer: dialects.Answer) -> Response:
    return Response(status=answer.status, headers=(("content-type", answer.content_type),), body=answer.body.encode())


def handler(dialect: dialects.Dialect, wire: Wire) -> OAuth2Handler:
    settings = ClientSettings(
        client_id=ID, client_secret=Secret(SECRET), values=dialect.settings, use_recommended_scope=False
    )
    provider = Registry().get(dialect.provider)
    entry = provider.handler(dialect.handler)
    assert entry is not None
    return OAuth2Handler(
        provider=provider,
        entry=entry,
        world=world(Clients(lambda name: settings), wire, Dice(), ManualClock(start=NOW)),
    )


def flow(dialect: dialects.Dialect) -> Flow:
    return Flow(
        state="state-1",
        owner=Owner(workspace="w", issuer="host", subject="default"),
        profile="default",
        scopes=frozenset(dialect.authorization.asked),
        redirect_uri=CALLBACK,
        pages="",
    )


def fields(request: Request) -> dict[str, str]:
    if request.headers["content-type"] == "application/json":
        return dict(json.loads(request.body))
    return dict(parse_qsl(request.body.decode(), keep_blank_values=True, strict_parsing=True))


def check(request: Request, wanted: dialects.Exchange, values: dict[str, str]) -> None:
    assert (request.method, request.url) == ("POST", wanted.url)
    assert request.headers["content-type"] == wanted.content_type
    assert wanted.headers.items() <= request.headers.items()
    assert fields(request) == {name: dialects.filled(text, values) for name, text in wanted.fields.items()}
    if wanted.client_auth == "client_secret_basic":
        coded = request.headers["authorization"].removeprefix("Basic ")
        known, _, secret = base64.b64decode(coded).decode().partition(":")
        assert (unquote_plus(known), unquote_plus(secret)) == (ID, SECRET)
    else:
        assert "authorization" not in request.headers


async def test_the_link_is_the_documented_one(dialect):
    begun = await handler(dialect, Wire()).begin(flow(dialect))
    wanted = dialect.authorization
    assert begun.url.partition("?")[0] == wanted.url
    pairs = parse_qsl(urlsplit(begun.url).query, keep_blank_values=True, strict_parsing=True)
    sent = dict(pairs)
    assert len(sent) == len(pairs)
    scopes = sent.pop(wanted.scope_parameter, "")
    assert frozenset(filter(None, scopes.split(wanted.scope_separator or None))) == (
        wanted.sent if wanted.scope_parameter else frozenset()
    )
    values = {"client_id": ID, "redirect_uri": CALLBACK, "state": "state-1"}
    values["code_challenge"] = challenge_of(begun.private["verifier"])
    assert sent == {name: dialects.filled(text, values) for name, text in wanted.parameters.items()}


async def test_a_code_is_exchanged_as_documented(dialect):
    wire = Wire(response(dialect.token.answer))
    made, asked = handler(dialect, wire), flow(dialect)
    begun = await made.begin(asked)
    grant = await made.finish(asked, begun.private, {"code": "code-1"})
    check(
        wire.requests[0],
        dialect.token,
        {
            "client_id": ID,
            "client_secret": SECRET,
            "redirect_uri": CALLBACK,
            "code": "code-1",
            "code_verifier": begun.private["verifier"],
        },
    )
    wanted = dialect.token.gives
    assert grant.credential.access_token == Secret(wanted.access_token)
    assert grant.credential.refresh_token == (Secret(wanted.refresh_token) if wanted.refresh_token else None)
    assert grant.expires_at == (None if wanted.lifetime is None else NOW + wanted.lifetime)
    if wanted.scopes is None:
        assert grant.scopes is None
    else:
        assert grant.scopes is not None
        assert wanted.scopes | set(dialect.authorization.asked) <= grant.scopes
    (lent,) = made.variables(grant.credential).values()
    assert lent == Secret(wanted.access_token)


async def test_a_token_is_refreshed_as_documented(dialect):
    if dialect.refresh is None:
        return
    wire = Wire(response(dialect.refresh.answer))
    grant = await handler(dialect, wire).refresh(HELD, frozenset(dialect.authorization.sent))
    check(
        wire.requests[0],
        dialect.refresh,
        {"client_id": ID, "client_secret": SECRET, "redirect_uri": CALLBACK, "refresh_token": "refresh-0"},
    )
    wanted = dialect.refresh.gives
    assert grant.credential.access_token == Secret(wanted.access_token)
    assert grant.credential.refresh_token == Secret(wanted.refresh_token or "refresh-0")
    assert grant.expires_at == (None if wanted.lifetime is None else NOW + wanted.lifetime)
    assert grant.scopes is None or wanted.scopes is not None
    assert set(dialect.authorization.asked) <= (grant.scopes or set(dialect.authorization.asked))


async def test_a_token_is_revoked_as_documented(dialect):
    wanted = dialect.revocation
    held = Credential(access_token=Secret("access-0"))
    if wanted is None:
        assert await handler(dialect, Wire()).revoke(held) is False
        return
    wire = Wire(response(wanted.answer))
    assert await handler(dialect, wire).revoke(held) is True
    (request,) = wire.requests
    assert request.url == wanted.url
    values = {"client_id": ID, "client_secret": SECRET, "token": "access-0"}
    told = {name: dialects.filled(text, values) for name, text in wanted.fields.items()}
    assert told.items() <= fields(request).items()
    assert fields(request).keys() - told.keys() <= {"token_type_hint", "client_id"}
    assert ("authorization" in request.headers) == (wanted.client_auth == "client_secret_basic")


@pytest.mark.requirement("T-02")
async def test_a_refusal_means_what_is_documented(dialect):
    for refusal in dialect.errors:
        wire = Wire(response(refusal.answer))
        made, asked = handler(dialect, wire), flow(dialect)
        begun = await made.begin(asked)
        expected = MEANING.get(
            (refusal.step, refusal.means), AuthRefused if refusal.step == "token" else ProviderUnavailable
        )
        tried = (
            made.finish(asked, begun.private, {"code": "code-1"})
            if refusal.step == "token"
            else made.refresh(HELD, asked.scopes)
        )
        with pytest.raises(expected):
            await tried
        assert len(wire.requests) == 1
