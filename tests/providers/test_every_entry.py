"""Every entry of the catalogue: what its file holds, and the requests that our handler makes of it."""

import base64
import json
import re
import tomllib
from pathlib import Path
from urllib.parse import parse_qsl, unquote_plus, urlsplit

import pytest

import valetkey.providers.catalog
from tests.connections.kit import world
from tests.oauth.fakes import Dice, Wire, answer
from valetkey.connections.handler import Flow
from valetkey.connections.handlers.oauth2 import OAuth2Handler
from valetkey.model.caller import Owner
from valetkey.model.connections import Credential
from valetkey.oauth.clients import Clients, ClientSettings
from valetkey.protocol.authorize import challenge_of
from valetkey.providers.registry import Registry
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock

# Read by tomllib alone: what our own reader makes of them is what is tested.
FILES = {
    path.stem: tomllib.loads(path.read_text("utf-8"))
    for path in sorted(Path(valetkey.providers.catalog.__file__).parent.glob("*.toml"))
}
OAUTH2 = [
    (provider, handler, entry)
    for provider, file in FILES.items()
    for handler, entry in file["handlers"].items()
    if entry["kind"] == "oauth2" and {"authorize", "token"} <= set(entry["oauth2"])
]

CALLBACK = "https://localhost:8001/proxy/auth/x/oauth2/callback"
ID, SECRET = "client-1", "client secret/+"
PLACEHOLDER = re.compile(r"\{(\w+)\}")
ENDPOINTS = ("authorize", "token", "refresh", "revoke", "device", "par", "registration", "issuer")
# Their accounts sign in at a host that all share, and have an API of their own.
SIGNED_IN_ELSEWHERE: dict[str, set[str]] = {}
# Public suffixes, and hosts where anyone may have a name: whoever owned the next one would be sent the credential.
SHARED = {"com", "net", "org", "io", "co", "app", "dev", "ai", "me", "co.uk", "com.au", "herokuapp.com", "vercel.app"}
SHARED |= {"github.io", "netlify.app", "azurewebsites.net", "amazonaws.com", "pages.dev", "workers.dev", "web.app"}

# Written down by hand, apart from the files. Provider; separator of scopes, or "-" where none are sent; how the
# client proves itself; authorization endpoint; token endpoint.
KNOWN = """
github       space basic|post https://github.com/login/oauth/authorize https://github.com/login/oauth/access_token
google       space post  https://accounts.google.com/o/oauth2/v2/auth https://oauth2.googleapis.com/token
slack        comma basic|post  https://slack.com/oauth/v2/authorize https://slack.com/api/oauth.v2.access
notion       -     basic https://api.notion.com/v1/oauth/authorize https://api.notion.com/v1/oauth/token
linear       comma post  https://linear.app/oauth/authorize https://api.linear.app/oauth/token
spotify      space basic https://accounts.spotify.com/authorize https://accounts.spotify.com/api/token
xero         space basic https://login.xero.com/identity/connect/authorize https://identity.xero.com/connect/token
quickbooks   space basic https://appcenter.intuit.com/connect/oauth2 https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer
shopify      comma post  https://made-up.myshopify.com/admin/oauth/authorize https://made-up.myshopify.com/admin/oauth/access_token
intercom     -     post  https://app.intercom.com/oauth https://api.intercom.io/auth/eagle/token
typeform     space post  https://api.typeform.com/oauth/authorize https://api.typeform.com/oauth/token
docusign     space basic https://account.docusign.com/oauth/auth https://account.docusign.com/oauth/token
digitalocean space post  https://cloud.digitalocean.com/v1/oauth/authorize https://cloud.digitalocean.com/v1/oauth/token
heroku       space post  https://id.heroku.com/oauth/authorize https://id.heroku.com/oauth/token
zoho         comma post  https://accounts.zoho.com/oauth/v2/auth https://accounts.zoho.com/oauth/v2/token
ringcentral  -     basic https://platform.ringcentral.com/restapi/oauth/authorize https://platform.ringcentral.com/restapi/oauth/token
webex        space post  https://webexapis.com/v1/authorize https://webexapis.com/v1/access_token
miro         space post  https://miro.com/oauth/authorize https://api.miro.com/v1/oauth/token
monday       space post  https://auth.monday.com/oauth2/authorize https://auth.monday.com/oauth2/token
fitbit       space basic https://www.fitbit.com/oauth2/authorize https://api.fitbit.com/oauth2/token
pinterest    comma basic https://www.pinterest.com/oauth/ https://api.pinterest.com/v5/oauth/token
coinbase     comma|space post https://login.coinbase.com/oauth2/auth https://login.coinbase.com/oauth2/token
huggingface  space basic https://huggingface.co/oauth/authorize https://huggingface.co/oauth/token
auth0        space post  https://made-up/authorize https://made-up/oauth/token
okta         space basic https://made-up/oauth2/v1/authorize https://made-up/oauth2/v1/token
keycloak     space basic https://made-up.example/realms/made-up/protocol/openid-connect/auth https://made-up.example/realms/made-up/protocol/openid-connect/token
"""


def filled(url: str) -> str:
    """A URL with made-up values where an operator's belong."""
    return PLACEHOLDER.sub(lambda found: "made-up" if found.start() else "https://made-up.example", url)


def handler_of(registry: Registry, name: str, wire: Wire) -> OAuth2Handler:
    provider, entry = registry.find_handler(name)
    assert entry.oauth2 is not None
    holes = {hole for url in (*provider.origins, *_urls(FILES[provider.name])) for hole in PLACEHOLDER.findall(url)}
    values = {hole: "https://made-up.example" if hole.endswith("_url") else "made-up" for hole in holes}
    settings = ClientSettings(
        client_id=ID, client_secret=Secret(SECRET), values=values, use_recommended_scope=False
    )  # fmt: skip
    clock = ManualClock(start=1_750_000_000.0)
    return OAuth2Handler(
        provider=provider, entry=entry, world=world(Clients(lambda _: settings), wire, Dice(), clock)
    )  # fmt: skip


def flow(scopes: frozenset[str]) -> Flow:
    owner = Owner(workspace="w", issuer="host", subject="default")
    return Flow(state="state-1", owner=owner, profile="p", scopes=scopes, redirect_uri=CALLBACK, pages="")


def answered(oauth2: dict, types: list[str]):
    """A token answer in the entry's own wrapping."""
    members: dict = {"access_token": "access-1", "refresh_token": "refresh-1", "expires_in": 3600}
    members |= {"token_type": types[0]} if types[0] else {}
    wrapped: dict = members
    for key in reversed(oauth2.get("answer_path", [])):
        wrapped = {key: wrapped}
    if "success_field" in oauth2:
        members[oauth2["success_field"]] = wrapped[oauth2["success_field"]] = True
    return answer(wrapped)


def check_token_request(request, oauth2: dict, wanted: dict[str, str], *, to: str) -> None:
    auth = oauth2.get("client_auth", "client_secret_post")
    assert (request.method, request.url) == ("POST", filled(to))
    if oauth2.get("token_format", "form") == "json":
        assert request.headers["content-type"] == "application/json"
        sent = json.loads(request.body)
    else:
        assert request.headers["content-type"] == "application/x-www-form-urlencoded"
        sent = dict(parse_qsl(request.body.decode(), keep_blank_values=True, strict_parsing=True))
    if auth == "client_secret_basic":
        known, _, secret = (
            base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode().partition(":")
        )
        assert (unquote_plus(known), unquote_plus(secret)) == (ID, SECRET)
    else:
        assert "authorization" not in request.headers
        wanted = wanted | {"client_id": ID} | ({"client_secret": SECRET} if auth == "client_secret_post" else {})
    assert sent == wanted
    for name, value in oauth2.get("token_headers", {}).items():
        assert request.headers[name.lower()] == value


def named(oauth2: dict, parameters: str) -> dict[str, str]:
    """The file's own parameters, with our client id where they ask for it."""
    return {name: ID if value == "{client_id}" else value for name, value in oauth2.get(parameters, {}).items()}


def besides(oauth2: dict, key: str) -> dict[str, str]:
    """What an entry sends besides; a few providers have a name of their own for the client id."""
    return {name: ID if value == "{client_id}" else value for name, value in oauth2.get(key, {}).items()}


async def check_entry(registry: Registry, handler: str, oauth2: dict) -> None:
    wire = Wire(*2 * [answered(oauth2, oauth2.get("token_types", ["bearer"]))])
    made = handler_of(registry, handler, wire)
    asked = flow(frozenset({"read", "write.all"}))
    begun = await made.begin(asked)

    url, _, _ = begun.url.partition("?")
    assert url == filled(oauth2["authorize"]).partition("?")[0]
    pairs = parse_qsl(urlsplit(begun.url).query, keep_blank_values=True, strict_parsing=True)
    sent = dict(pairs)
    assert len(sent) == len(pairs), "a parameter is there twice"
    ours = {"response_type": "code", "client_id": ID, "redirect_uri": CALLBACK, "state": "state-1"}
    ours |= dict(parse_qsl(urlsplit(filled(oauth2["authorize"])).query))
    ours |= named(oauth2, "authorize_parameters")
    if oauth2.get("pkce", True):
        ours |= {"code_challenge": challenge_of(begun.private["verifier"]), "code_challenge_method": "S256"}
    parameter = oauth2.get("scope_parameter", "scope")
    if parameter:
        scopes = sent.pop(parameter).split(oauth2.get("scope_separator", " "))
        assert sorted(scopes) == sorted({"read", "write.all", *oauth2.get("refresh_scopes", [])})
    assert sent == ours

    code = {"grant_type": "authorization_code", "code": "code-1", "redirect_uri": CALLBACK}
    code |= {"code_verifier": begun.private["verifier"]} if oauth2.get("pkce", True) else {}
    await made.finish(asked, begun.private, {"code": "code-1"})
    check_token_request(wire.requests[0], oauth2, code | besides(oauth2, "token_parameters"), to=oauth2["token"])

    held = Credential(access_token=Secret("access-0"), refresh_token=Secret("refresh-0"))
    await made.refresh(held, frozenset())
    again = {"grant_type": "refresh_token", "refresh_token": "refresh-0"} | besides(oauth2, "refresh_parameters")
    check_token_request(wire.requests[1], oauth2, again, to=oauth2.get("refresh", oauth2["token"]))


async def test_every_oauth2_entry_makes_the_requests_that_its_file_describes(registry):
    assert len(OAUTH2) >= 225
    wrong = {}
    for _, handler, entry in OAUTH2:
        try:
            await check_entry(registry, handler, entry["oauth2"])
        except Exception as fault:  # noqa: BLE001 - every failing entry is named, not the first alone
            wrong[handler] = f"{type(fault).__name__}: {fault}"
    assert wrong == {}


async def test_well_known_providers_are_asked_where_and_how_their_pages_say(registry):
    rows = [line.split() for line in KNOWN.strip().splitlines()]
    assert len(rows) >= 25
    for provider, separator, auth, authorize, token in rows:
        entry = FILES[provider]["handlers"][f"{provider}-oauth2"]
        wire = Wire(answered(entry["oauth2"], ["bearer"]))
        made = handler_of(registry, f"{provider}-oauth2", wire)
        asked = flow(frozenset({"aa", "bb"}))
        begun = await made.begin(asked)
        assert begun.url.partition("?")[0] == authorize, provider
        query = dict(parse_qsl(urlsplit(begun.url).query))
        scopes = query.get("user_scope" if provider == "slack" else "scope")
        if separator == "-":
            assert scopes is None, provider
        else:
            used = {"comma": ",", "space": " "}
            splits = [set((scopes or "").split(used[each])) for each in separator.split("|")]
            assert any({"aa", "bb"} <= split for split in splits), provider
        await made.finish(asked, begun.private, {"code": "code-1"})
        (request,) = wire.requests
        assert request.url == token, provider
        way = "basic" if "authorization" in request.headers else "post" if b"client_secret" in request.body else "none"
        assert way in auth.split("|"), provider


def test_every_file_says_what_it_is_and_where_that_was_read():
    """A group of facts that nobody has read anywhere has no line; the endpoints of a sign-in always have one."""
    assert len(FILES) >= 250
    wrong = []
    for provider, file in FILES.items():
        kinds = {entry["kind"] for entry in file["handlers"].values()}
        source = file.get("source", {})
        missing = ({"authorization", "token"} if "oauth2" in kinds else set()) - set(source)
        generic = provider in {"apitoken", "basicauth"}
        read = generic or bool(source)
        if not file.get("title") or missing or not read or not (generic or (file.get("origins") and file.get("docs"))):
            wrong.append((provider, missing))
    assert wrong == []


def test_no_file_names_a_source_for_what_it_does_not_hold():
    named = {"revocation": "revoke", "refresh": "refresh", "device": "device"}
    for provider, file in FILES.items():
        tables = [entry.get("oauth2", {}) for entry in file["handlers"].values()]
        for group, key in named.items():
            issuer = any("issuer" in table for table in tables)
            held = issuer or group == "refresh" or any(key in table for table in tables)
            assert held or group not in file.get("source", {}), (provider, group)
        pasted = any("fields" in entry for entry in file["handlers"].values())
        assert pasted or "pasted" not in file.get("source", {}), provider


def test_no_two_handlers_share_a_name_nor_two_providers_a_variable():
    names = [handler.replace("_", "-") for file in FILES.values() for handler in file["handlers"]]
    assert len(names) == len(set(names))
    readers: dict[str, set[str]] = {}
    for provider, file in FILES.items():
        for entry in file["handlers"].values():
            for variable in entry["variables"]:
                readers.setdefault(variable, set()).add(provider)
    assert {variable: sorted(those) for variable, those in readers.items() if len(those) > 1} == {}


def test_every_address_is_https_and_no_origin_is_a_host_that_strangers_share():
    for provider, file in FILES.items():
        for url in _urls(file):
            assert filled(url).startswith("https://"), (provider, url)
        for origin in file.get("origins", []):
            host = urlsplit(filled(origin)).netloc
            assert host.removeprefix("*.") not in SHARED, (provider, origin)
            assert not host.startswith("*.") or host.count(".") >= 2, (provider, origin)


def test_a_placeholder_of_an_api_is_one_that_a_person_has_to_fill_to_sign_in():
    elsewhere = {}
    for provider, file in FILES.items():
        entries = [entry["oauth2"] for entry in file["handlers"].values() if "oauth2" in entry]
        told = {hole for oauth2 in entries for key in ENDPOINTS for hole in PLACEHOLDER.findall(oauth2.get(key, ""))}
        said = {hole for origin in file.get("origins", []) for hole in PLACEHOLDER.findall(origin)}
        assert all(re.fullmatch(r"[a-z][a-z0-9_]*", hole) for hole in told | said), provider
        if entries and said - told:
            elsewhere[provider] = said - told
    assert elsewhere == SIGNED_IN_ELSEWHERE


def test_whose_it_is_is_asked_at_an_origin_of_the_provider(registry):
    for provider, file in FILES.items():
        origins = {filled(origin) for origin in file.get("origins", [])}
        for handler, entry in file["handlers"].items():
            if "userinfo" not in entry:
                continue
            parts = urlsplit(filled(entry["userinfo"]["url"]))
            asked = f"{parts.scheme}://{parts.netloc}"
            wide = [origin.replace("https://*.", "") for origin in origins if "*." in origin]
            if PLACEHOLDER.search(entry["userinfo"]["url"]) and not any("{" in each for each in file["origins"]):
                continue  # each of its sites is named
            assert asked in origins or any(parts.netloc.endswith(f".{host}") for host in wide), (provider, handler)


def _urls(file: dict) -> list[str]:
    return [
        value
        for entry in file["handlers"].values()
        for table in (entry.get("oauth2", {}), entry.get("userinfo", {}))
        for key, value in table.items()
        if isinstance(value, str) and key in {*ENDPOINTS, "url"}
    ]


@pytest.fixture
def registry(tmp_path):
    return Registry(paths=[tmp_path])
