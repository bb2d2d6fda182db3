"""What an ``auth`` frame is taken for, and the words in which it is refused."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from valetkey.connections.session import SessionKind
from valetkey.connections.session_credential import credential_of
from valetkey.entrypoints.chat.credentials import AuthenticationHandler, AuthType, Credentials, read_auth
from valetkey.errors import AuthenticationError, ProviderUnavailable
from valetkey.settings.bedrock import DEFAULT_SUPPORTED_AUTH_TYPES
from valetkey.wiring import build


@dataclass
class Config:
    enable_tool_auth: bool = True
    supported_auth_types: list[str] = field(default_factory=lambda: list(DEFAULT_SUPPORTED_AUTH_TYPES))
    token_url_hosts: list[str] = field(default_factory=list)


@pytest.fixture(autouse=True)
def fresh_system() -> Iterator[None]:
    yield
    build.use(None)


OAUTH2 = {"client_id": "id", "client_secret": "s3cret-value", "token_url": "https://auth.example.com/token"}


def refusal(frame: dict[str, Any], **config: Any) -> str:
    with pytest.raises(AuthenticationError) as refused:
        read_auth({"type": "auth", **frame}, Config(**config))
    return str(refused.value)


def read(**frame: Any) -> tuple[str, dict[str, str]]:
    """The type as it was spelt, and the values as a connection would hold them."""
    spelt, given = read_auth({"type": "auth", **frame}, Config())
    credential = credential_of(given)
    values = {"": credential.access_token, **credential.fields}
    return spelt, {name: value.reveal() for name, value in values.items() if value}


@pytest.mark.requirement("seed003.messages")
@pytest.mark.parametrize(
    ("frame", "spelt", "kind"),
    [
        ({"token": "t"}, "bearer_token", SessionKind.BEARER_TOKEN),
        ({"auth_type": "bearer_token", "token": "t"}, "bearer_token", SessionKind.BEARER_TOKEN),
        ({"auth_type": "BEARER_Token", "token": "t", "surplus": [1]}, "bearer_token", SessionKind.BEARER_TOKEN),
        ({"auth_type": "basic_auth", "username": "u", "password": "p"}, "basic_auth", SessionKind.BASIC_AUTH),
        ({"auth_type": "api_key", "api_key": "k"}, "api_key", SessionKind.API_KEY),
        ({"auth_type": "oauth2", **OAUTH2}, "oauth2", SessionKind.OAUTH2),
        (
            {"auth_type": "OAuth2_Client_Credentials", **OAUTH2, "scope": None},
            "oauth2_client_credentials",
            SessionKind.OAUTH2,
        ),
        ({"auth_type": "custom", "custom_headers": {"X-A": "v"}}, "custom", SessionKind.CUSTOM),
    ],
)
def test_each_type_is_taken_and_told_as_it_was_spelt(frame: dict[str, Any], spelt: str, kind: SessionKind) -> None:
    told, taken = read_auth({"type": "auth", **frame}, Config())
    assert (told, taken.kind) == (spelt, kind)


@pytest.mark.requirement("seed003.basic", "seed003.api-key", "seed003.custom", "seed003.messages")
def test_the_values_of_seed_003_s_messages_go_where_they_belong() -> None:
    assert read(auth_type="bearer_token", token=" eyJhbGci ")[1] == {"": "eyJhbGci"}
    pair = base64.b64encode("user@example.com: pä ß ".encode()).decode()
    basic = read(auth_type="basic_auth", username="user@example.com", password=" pä ß ")[1]
    assert basic == {"password": " pä ß ", "basic": pair}
    assert read(auth_type="api_key", api_key="sk-123456")[1] == {"": "sk-123456", "X-API-Key": "sk-123456"}
    named = read(auth_type="api_key", api_key="sk-1", api_key_header="Authorization")[1]
    assert named == {"": "sk-1", "Authorization": "sk-1"}
    headers = {"X-Custom-Auth": "custom-value", "X-Request-ID": "12345", "Authorization": "Token abc"}
    assert read(auth_type="custom", custom_headers=headers)[1] == headers
    _, given = read_auth({"auth_type": "oauth2", **OAUTH2, "scope": " api:read  api:write "}, Config())
    assert (given.token_url, given.scope) == (OAUTH2["token_url"], "api:read api:write")
    assert given.fields["client_secret"].matches("s3cret-value")


@pytest.mark.requirement(
    "seed003.trouble-bearer", "chat.texts", "fault.header-error", "fault.header-abuse", "d14.texts"
)
@pytest.mark.parametrize(
    ("frame", "text"),
    [
        ({}, "Bearer token required"),
        ({"token": ""}, "Bearer token required"),
        ({"token": "  "}, "Bearer token required"),
        ({"token": None}, "Bearer token required"),
        ({"token": 123}, "Invalid auth message: token must be a string"),
        ({"token": ["x"]}, "Invalid auth message: token must be a string"),
        ({"token": "a\r\nX-Inj: 1"}, "Invalid auth message: token must be a string"),
        ({"token": "a\n"}, "Invalid auth message: token must be a string"),
        ({"token": "a\x00"}, "Invalid auth message: token must be a string"),
        ({"token": "a\x85b"}, "Invalid auth message: token must be a string"),
        ({"token": "a\ud800"}, "Invalid auth message: token must be a string"),
        ({"token": "tökén"}, "Invalid auth message: token must be ASCII"),
        ({"token": "a" * 16_385}, "Invalid auth message: token is longer than 16384 characters"),
        ({"token": "a\\\\\\\\\\b"}, "Invalid auth message: token must not have five of \\, % or & in a row"),
        (
            {"auth_type": "custom", "custom_headers": {"X-A": "%%%%%"}},
            "Invalid auth message: the value of X-A must not have five of \\, % or & in a row",
        ),
        ({"auth_type": "basic_auth"}, "Username and password required for basic auth"),
        (
            {"auth_type": "basic_auth", "username": "u", "password": ""},
            "Username and password required for basic auth",
        ),
        (
            {"auth_type": "basic_auth", "username": "", "password": "p"},
            "Username and password required for basic auth",
        ),
        (
            {"auth_type": "basic_auth", "username": "u", "password": {}},
            "Invalid auth message: password must be a string",
        ),
        (
            {"auth_type": "basic_auth", "username": True, "password": "p"},
            "Invalid auth message: username must be a string",
        ),
        (
            {"auth_type": "basic_auth", "username": "u:v", "password": "p"},
            "Invalid auth message: username must not hold a colon",
        ),
        ({"auth_type": "api_key"}, "API key required"),
        ({"auth_type": "api_key", "api_key": ""}, "API key required"),
        ({"auth_type": "api_key", "api_key": 5}, "Invalid auth message: api_key must be a string"),
        (
            {"auth_type": "api_key", "api_key": "k", "api_key_header": 5},
            "Invalid auth message: api_key_header must be a string",
        ),
        (
            {"auth_type": "oauth2"},
            "client_id, client_secret, and token_url required for OAuth2 (OAuth2 token URL not provided)",
        ),
        (
            {"auth_type": "oauth2", **OAUTH2, "token_url": ""},
            "client_id, client_secret, and token_url required for OAuth2 (OAuth2 token URL not provided)",
        ),
        (
            {"auth_type": "oauth2", **OAUTH2, "client_secret": None},
            "client_id, client_secret, and token_url required for OAuth2",
        ),
        (
            {"auth_type": "oauth2", **OAUTH2, "client_id": 5},
            "Invalid auth message: client_id must be a string",
        ),
        ({"auth_type": "oauth2", **OAUTH2, "scope": ["a"]}, "Invalid auth message: scope must be a string"),
        (
            {"auth_type": "oauth2", **OAUTH2, "scope": 'a"b'},
            "Invalid auth message: scope must not hold quotes or backslashes",
        ),
        (
            {"auth_type": "oauth2", **OAUTH2, "token_url": "http://auth.example.com/token"},
            "Invalid auth message: token_url must be https",
        ),
        (
            {"auth_type": "oauth2", **OAUTH2, "token_url": "file:///etc/passwd"},
            "Invalid auth message: token_url cannot be used: its host or port cannot be read",
        ),
        (
            {"auth_type": "oauth2", **OAUTH2, "token_url": "https://me@auth.example.com/"},
            "Invalid auth message: token_url cannot be used: it has a fragment, or a user before its host",
        ),
        ({"auth_type": "custom"}, "custom_headers required for custom auth"),
        ({"auth_type": "custom", "custom_headers": {}}, "custom_headers required for custom auth"),
        ({"auth_type": "custom", "custom_headers": "X-A: v"}, "custom_headers required for custom auth"),
        ({"auth_type": "custom", "custom_headers": ["X-A"]}, "custom_headers required for custom auth"),
        ({"auth_type": "custom", "custom_headers": {"X-A": 1}}, "custom_headers required for custom auth"),
        ({"auth_type": "custom", "custom_headers": {"X-A": "v\r\nB: c"}}, "custom_headers required for custom auth"),
        (
            {"auth_type": "custom", "custom_headers": {"X-A": "ü"}},
            "Invalid auth message: the value of X-A must be ASCII",
        ),
        (
            {"auth_type": "custom", "custom_headers": {"X-A": "v", "X-B": " "}},
            "Invalid auth message: the value of X-B must not be empty",
        ),
        (
            {"auth_type": "custom", "custom_headers": {"X-A": "1", "x-a": "2"}},
            "Invalid auth message: custom_headers has a name twice",
        ),
        (
            {"auth_type": "custom", "custom_headers": {f"X-{number}": "v" for number in range(17)}},
            "Invalid auth message: custom_headers has more than 16 headers or 8192 characters",
        ),
        ({"auth_type": "none"}, "Unknown auth type: none"),
        ({"auth_type": "NOPE"}, "Unknown auth type: nope"),
        ({"auth_type": "sso"}, "Unknown auth type: sso"),
        ({"auth_type": ""}, "Unknown auth type: "),
        ({"auth_type": None, "token": "t"}, "Invalid auth message: auth_type must be a string"),
        ({"auth_type": 5, "token": "t"}, "Invalid auth message: auth_type must be a string"),
        ({"auth_type": "api_key\n"}, "Invalid auth message: auth_type must be a string"),
    ],
)
def test_what_is_wrong_is_told_in_the_words_of_the_wire(frame: dict[str, Any], text: str) -> None:
    assert refusal(frame) == text


@pytest.mark.requirement("seed003.supported-types")
@pytest.mark.parametrize("given", ["api_key", "API_KEY"])
def test_a_type_that_is_not_enabled_is_refused_by_its_name(given: str) -> None:
    assert refusal({"auth_type": given, "api_key": "k"}, supported_auth_types=["bearer_token"]) == (
        "Auth type not enabled: api_key"
    )


@pytest.mark.requirement("seed003.supported-types")
@pytest.mark.parametrize("listed", ["oauth2", "oauth2_client_credentials", " OAuth2 "])
@pytest.mark.parametrize("sent", ["oauth2", "oauth2_client_credentials"])
def test_either_spelling_of_oauth2_enables_both(listed: str, sent: str) -> None:
    assert read_auth({"auth_type": sent, **OAUTH2}, Config(supported_auth_types=[listed]))[0] == sent


@pytest.mark.requirement("seed003.enable")
@pytest.mark.parametrize("frame", [{"token": "t"}, {"auth_type": None}, {}])
def test_where_tools_take_no_credentials_none_is_read(frame: dict[str, Any]) -> None:
    assert refusal(frame, enable_tool_auth=False) == "Tool authentication is disabled"


@pytest.mark.requirement("fault.ssrf")
def test_a_token_url_on_loopback_is_taken_where_the_operator_names_its_host() -> None:
    frame = {"auth_type": "oauth2", **OAUTH2, "token_url": "http://127.0.0.1:9000/token"}
    assert refusal(frame) == "Invalid auth message: token_url must be https"
    assert refusal(frame, token_url_hosts=["127.0.0.1:9001"]) == "Invalid auth message: token_url must be https"
    assert read_auth(frame, Config(token_url_hosts=["127.0.0.1:9000"]))[0] == "oauth2"
    elsewhere = {**frame, "token_url": "http://10.0.0.7/token"}
    assert refusal(elsewhere, token_url_hosts=["10.0.0.7"]).startswith("Invalid auth message: token_url must be https")


# Decision 18, and the rest of the classes that its names stand for: framing, hop by hop, the person's cookies, and
# who says that a request came from where; and what proxies say of whoever signed in there (contract 4.1, 4).
FORBIDDEN = """
    Host Content-Length Content-Type Content-Encoding Transfer-Encoding Connection Cookie X-Forwarded-For
    X-Forwarded-Host X-Forwarded-Proto X-Forwarded-User X-Forwarded Forwarded Via TE Trailer Upgrade Expect Keep-Alive
    Proxy-Authorization Proxy-Connection Set-Cookie X-Real-IP X-HTTP-Method-Override X-Original-URL X-Rewrite-URL
    Sec-WebSocket-Key Sec-Fetch-Site Origin Referer Date Accept-Encoding Max-Forwards True-Client-IP X-Forwarded_For
    X_Forwarded_For cONTENT-lENGTH
    X-User-ID X-User-Metadata X-User User-Agent From Remote-User X-Remote-User REMOTE_USER X-Auth-Request-Email
    X-Authenticated-User X-Auth-Username X-Consumer-ID X-WebAuth-User Tailscale-User-Login X-Username X-Roles
    Cf-Access-Authenticated-User-Email Cf-Access-Jwt-Assertion X-Goog-Authenticated-User-Email X-Goog-IAP-JWT-Assertion
    X-MS-CLIENT-PRINCIPAL X-MS-CLIENT-PRINCIPAL-NAME X-MS-TOKEN-AAD-ID-TOKEN X-Amzn-Oidc-Identity X-Amzn-Mtls-Clientcert
    X-Forwarded-Access-Token X-Original-URI X-Envoy-Original-Path X-Envoy-External-Address Fly-Client-IP
    X-Azure-ClientIP X-Azure-SocketIP CF-Connecting-IP CF-Connecting-IPv6 Fastly-Client-IP X-Client-IP
    X-Cluster-Client-IP X-ProxyUser-IP X-Remote-Addr X-Originating-IP Incap-Client-IP X-Nf-Client-Connection-Ip
    X-SSL-Client-Cert SSL-Client-Verify Client-Cert X-Client-DN X-AppEngine-User-Email X-Valetkey-User
    """.split()  # noqa: SIM905


@pytest.mark.requirement("fault.header-abuse", "d18.headers")
@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_header_that_belongs_to_the_request_is_refused(name: str) -> None:
    why = f"must not set {name}, which belongs to the request and is no credential"
    custom = {"auth_type": "custom", "custom_headers": {"X-Fine": "v", name: "secret-value"}}
    assert refusal(custom) == f"Invalid auth message: custom_headers {why}"
    api_key = {"auth_type": "api_key", "api_key": "secret-value", "api_key_header": name}
    assert refusal(api_key) == f"Invalid auth message: api_key_header {why}"


@pytest.mark.requirement("d18.headers")
@pytest.mark.parametrize(
    "name",
    """
    Authorization X-API-Key X-Auth-Token X-Auth-Key X-User-Token X-Access-Token X-Client-Id X-Client-Secret
    Cf-Access-Client-Id Cf-Access-Client-Secret X-Goog-Api-Key X-Request-ID Api-Key X-Amz-Security-Token X-Org-ID
    X-Hasura-Admin-Secret X-Serverless-Authorization X-Custom-Auth
    """.split(),  # noqa: SIM905
)
def test_a_header_that_holds_a_credential_is_taken(name: str) -> None:
    _, taken = read_auth({"auth_type": "custom", "custom_headers": {name: "v"}}, Config())
    assert list(taken.headers) == [name]


@pytest.mark.requirement("fault.header-abuse")
@pytest.mark.parametrize("name", ["X A", "X:A", "(X)", "X;A", "x" * 129])
def test_what_is_no_header_name_is_refused(name: str) -> None:
    said = refusal({"auth_type": "custom", "custom_headers": {name: "v"}})
    assert said == "Invalid auth message: custom_headers must be a header name of letters, digits and hyphens"
    said = refusal({"auth_type": "api_key", "api_key": "k", "api_key_header": name})
    assert said == "Invalid auth message: api_key_header must be a header name of letters, digits and hyphens"


@pytest.mark.parametrize("name", ["", "X-Ä", "X\r\nHost", "X-A\t"])
def test_what_no_header_can_hold_is_no_name_either(name: str) -> None:
    assert "must be a header name" in refusal({"auth_type": "custom", "custom_headers": {name: "v"}})
    if name:
        said = refusal({"auth_type": "api_key", "api_key": "k", "api_key_header": name})
        assert said.startswith("Invalid auth message: api_key_header must be ")


_values = some.recursive(
    some.none() | some.booleans() | some.text(max_size=9),
    lambda inner: some.lists(inner, max_size=2) | some.dictionaries(some.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
_names = [
    "auth_type", "token", "username", "password", "api_key", "api_key_header", "client_id", "client_secret",
    "token_url", "scope", "custom_headers",
]  # fmt: skip


@pytest.mark.requirement("W-08")
@settings(max_examples=40)
@given(
    frame=some.dictionaries(some.sampled_from(_names), _values),
    kind=some.sampled_from([*DEFAULT_SUPPORTED_AUTH_TYPES, None]),
)
def test_no_frame_brings_down_the_reader(frame: dict[str, Any], kind: str | None) -> None:
    frame = {**frame, **({} if kind is None else {"auth_type": kind})}
    try:
        _, taken = read_auth(frame, Config())
    except AuthenticationError:
        return
    credential_of(taken)


@pytest.mark.requirement("chat.credentials-api")
def test_credentials_do_not_print_and_tell_only_what_is_there() -> None:
    secret = "sEcr3t-value"
    fields = ("bearer_token", "password", "client_secret", "api_key")
    given = Credentials(
        auth_type=AuthType.API_KEY, **dict.fromkeys(fields, secret), custom_headers={"A": secret}, metadata={"m": 1}
    )
    told = given.to_dict()
    assert secret not in repr(given) + str(given) + json.dumps(told)
    assert told == {
        "auth_type": "api_key",
        "has_bearer_token": True,
        "has_credentials": True,
        "has_oauth2": False,
        "has_api_key": True,
        "has_custom_headers": True,
        "metadata": {"m": 1},
    }


@pytest.mark.requirement("chat.credentials-api")
def test_credentials_are_made_of_a_mapping_with_either_spelling() -> None:
    given = Credentials.from_dict({"auth_type": "oauth2", "client_id": "id", "scope": None, "surplus": 1})
    assert given == Credentials(auth_type=AuthType.OAUTH2_CLIENT_CREDENTIALS, client_id="id")
    assert (given.api_key_header, given.get_auth_type_string()) == ("X-API-Key", "oauth2_client_credentials")
    assert Credentials.from_dict({}) == Credentials()
    with pytest.raises(ValueError, match="nope"):
        Credentials.from_dict({"auth_type": "nope"})
    assert [each.value for each in AuthType] == [
        "none",
        "bearer_token",
        "basic_auth",
        "oauth2_client_credentials",
        "api_key",
        "custom",
    ]


@pytest.mark.requirement("chat.credentials-api")
@pytest.mark.parametrize(
    ("given", "headers", "valid"),
    [
        (Credentials(), {}, True),
        (Credentials(AuthType.BEARER_TOKEN, bearer_token="t"), {"Authorization": "Bearer t"}, True),
        (Credentials(AuthType.BEARER_TOKEN), {}, False),
        (
            Credentials(AuthType.BASIC_AUTH, username="u", password="p"),
            {"Authorization": "Basic " + base64.b64encode(b"u:p").decode()},
            True,
        ),
        (Credentials(AuthType.BASIC_AUTH, username="u"), {}, False),
        (Credentials(AuthType.API_KEY, api_key="k"), {"X-API-Key": "k"}, True),
        (Credentials(AuthType.API_KEY, api_key="k", api_key_header="X-K"), {"X-K": "k"}, True),
        (Credentials(AuthType.CUSTOM, custom_headers={"X-C": "c"}), {"X-C": "c", "X-Static": "s"}, True),
    ],
)
async def test_a_program_of_its_own_puts_them_on_its_requests(
    given: Credentials, headers: dict[str, str], *, valid: bool, caplog: pytest.LogCaptureFixture
) -> None:
    handler = AuthenticationHandler(given)
    mine = {"Accept": "x"}
    assert await handler.apply_auth_to_headers(mine, {"custom_headers": {"X-Static": "s"}}) is mine
    assert mine == {"Accept": "x", **headers}
    assert handler.validate_credentials() is valid
    assert bool(caplog.records) is not valid


class Answer:
    def __init__(self, members: dict[str, Any], status: int = 200) -> None:
        self.status_code, self._members = status, members

    def json(self) -> dict[str, Any]:
        return self._members


class Client:
    """As much of an ``httpx.AsyncClient`` as is used."""

    def __init__(self, *answers: Answer) -> None:
        self.answers, self.sent = list(answers), list[tuple[str, str, dict[str, str]]]()

    async def post(self, url: str, *, content: bytes, headers: dict[str, str]) -> Answer:
        self.sent.append((url, content.decode(), headers))
        return self.answers.pop(0)

    async def get(self, url: str, *, headers: dict[str, str]) -> Answer:
        self.sent.append((url, "", headers))
        return self.answers.pop(0)


@pytest.mark.requirement("chat.credentials-api")
async def test_a_program_s_own_client_fetches_the_token_once() -> None:
    given = Credentials.from_dict({"auth_type": "oauth2", **OAUTH2})
    handler, client = AuthenticationHandler(given), Client(Answer({"access_token": "at", "expires_in": "60"}))
    handler.set_http_client(client)
    for _ in range(2):
        assert (await handler.apply_auth_to_headers({}))["Authorization"] == "Bearer at"
    ((url, form, _),) = client.sent
    assert url == OAUTH2["token_url"]
    assert form == "grant_type=client_credentials&client_id=id&client_secret=s3cret-value"


@pytest.mark.requirement("chat.credentials-api")
async def test_without_a_client_ours_fetches_and_goes_nowhere_private() -> None:
    given = Credentials.from_dict({"auth_type": "oauth2", **OAUTH2, "token_url": "https://127.0.0.1/token"})
    with pytest.raises(ProviderUnavailable, match="did not give a token"):
        await AuthenticationHandler(given).apply_auth_to_headers({})
    given.token_url = None
    with pytest.raises(ValueError, match="OAuth2 token URL is required for client credentials flow"):
        await AuthenticationHandler(given).apply_auth_to_headers({})


@pytest.mark.requirement("chat.credentials-api")
async def test_credentials_are_verified_at_an_endpoint_of_the_program_s_choice() -> None:
    handler = AuthenticationHandler(Credentials(AuthType.BEARER_TOKEN, bearer_token="tok-12345678"))
    good = Client(Answer({"name": "Ann"}))
    assert await handler.verify_credentials_remote("https://api.example.com/me", good) == (
        True,
        "Credentials verified successfully (HTTP 200)",
        {"name": "Ann"},
    )
    assert good.sent[0][2]["Authorization"] == "Bearer tok-12345678"
    bad = Client(Answer({"detail": "tok-12345678 is not known"}, 401))
    assert await handler.verify_credentials_remote("https://api.example.com/me", bad) == (
        False,
        "Credential verification failed (HTTP 401): *** is not known",
        {},
    )
    assert await handler.verify_credentials_remote("http://127.0.0.1:9/me") == (
        False,
        "Could not connect to verification endpoint",
        {},
    )


@pytest.mark.requirement("chat.credentials-api")
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("ConnectTimeout", "Credential verification request timed out"),
        ("ConnectError", "Could not connect to verification endpoint"),
        ("DecodingError", "Credential verification error"),
    ],
)
async def test_what_a_program_s_own_client_raises_is_told_in_the_contract_s_words(kind: str, text: str) -> None:
    raised = getattr(httpx2, kind)("tok-12345678")
    handler = AuthenticationHandler(Credentials(AuthType.BEARER_TOKEN, bearer_token="tok-12345678"))

    class Broken(Client):
        async def get(self, url: str, *, headers: dict[str, str]) -> Answer:
            raise raised

    assert await handler.verify_credentials_remote("https://api.example.com/me", Broken()) == (False, text, {})
