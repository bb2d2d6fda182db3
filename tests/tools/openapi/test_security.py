"""Which credential an operation gets, and where it goes: issue D point 2, contract part 2, rows X-06, X-07, X-23."""

import pytest

from tests.tools.openapi.kit import (
    BASE,
    Remembers,
    api,
    api_key,
    basic,
    bearer,
    custom,
    document,
    lent,
    operation,
    param,
    sent,
    target_of,
)
from valetkey.errors import Denied, InvalidArguments
from valetkey.model.calls import Loan
from valetkey.model.needs import PUBLIC, Need
from valetkey.ports.world import Response
from valetkey.secret import Secret
from valetkey.tools.openapi.answer import OperationFailed
from valetkey.tools.openapi.api import OpenApi

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "Basic"},
    "digest": {"type": "http", "scheme": "digest"},
    "negotiate": {"type": "http", "scheme": "Negotiate"},
    "nothing": {"type": "http"},
    "header": {"type": "apiKey", "in": "header", "name": "X-Key"},
    "query": {"type": "apiKey", "in": "query", "name": "api_key"},
    "cookie": {"type": "apiKey", "in": "cookie", "name": "sid"},
    "oauth": {"type": "oauth2", "flows": {}},
    "oidc": {"type": "openIdConnect", "openIdConnectUrl": "https://x.example"},
    "old": {"type": "apiKey", "in": "header", "name": "Authorization"},
    "odd": {"type": "apiKey", "in": "query", "name": "api[key]"},
    "mtls": {"type": "mutualTLS"},
    "referring": {"$ref": "#/components/securitySchemes/bearer"},
    "marked": {"type": "oauth2", "flows": {}, "x-valetkey-provider": "GitHub"},
}


def secured(*requirements, **more):
    about = {"security": [{key: [] for key in names} for names in requirements], **more}
    return operation("/x", about=about, components={"securitySchemes": SCHEMES})


def wanted(tool):
    """The alternatives as texts."""
    return [
        "+".join(sorted((need.handler or need.provider).removeprefix("session-") for need in needs))
        for needs in tool.needs.alternatives
    ]


@pytest.mark.requirement("fault.dead-security", "X-23", "D.scheme-providers")
@pytest.mark.parametrize(
    ("requirements", "alternatives"),
    [
        ([["bearer"]], ["bearer_token", "oauth2", "custom", ""]),
        ([["referring"]], ["bearer_token", "oauth2", "custom", ""]),
        ([["oauth"]], ["bearer_token", "oauth2", "custom", ""]),
        ([["oidc"]], ["bearer_token", "oauth2", "custom", ""]),
        ([["basic"]], ["basic_auth", "custom", ""]),
        ([["header"]], ["api_key", "custom", ""]),
        ([["query"]], ["api_key", ""]),
        ([["cookie"]], ["api_key", ""]),
        ([["old"]], ["api_key", "bearer_token", "oauth2", "basic_auth", "custom", ""]),
        ([["mtls"]], [""]),
        ([["digest"]], [""]),
        ([["negotiate"], ["nothing"]], [""]),
        ([["unknown"]], [""]),
        ([["query"], ["basic"]], ["api_key", "basic_auth", "custom", ""]),
        ([["bearer", "header"]], ["api_key+bearer_token", "bearer_token+custom", "api_key+oauth2", "custom+oauth2",
                                  "api_key+custom", "custom", ""]),
        ([["marked"]], ["github"]),
        ([["marked"], []], ["github", ""]),
        ([], [""]),
    ],
)  # fmt: skip
def test_what_is_declared_decides_what_fits(requirements, alternatives):
    assert wanted(secured(*requirements)) == alternatives


@pytest.mark.requirement("fault.dead-security")
def test_nothing_declared_anywhere_gets_the_sessions_credential_and_an_empty_list_none():
    undeclared = operation("/x")
    assert undeclared.needs.alternatives == ((Need(provider="session"),), ())
    assert operation("/x", about={"security": []}).needs == PUBLIC


@pytest.mark.requirement("fault.dead-security")
def test_the_documents_own_security_holds_where_an_operation_has_none():
    given = document(
        {"/a": {"get": {}}, "/b": {"get": {"security": []}}},
        security=[{"basic": []}],
        components={"securitySchemes": SCHEMES},
    )
    tools = api(given).tools()
    assert wanted(tools["get_a"]) == ["basic_auth", "custom", ""]
    assert tools["get_b"].needs == PUBLIC


@pytest.mark.requirement("fault.dead-security")
def test_security_of_null_is_none_and_of_another_shape_fits_nothing(caplog):
    def read(own, **more):
        return api(document({"/x": {"get": {"security": own}}}, components={"securitySchemes": SCHEMES}, **more))

    def found(own, **more):
        (tool,) = read(own, **more).tools().values()
        return wanted(tool)

    # `security:` left empty in YAML, under a document that asks for one kind, or for none
    assert found(None, security=[{"basic": []}]) == ["basic_auth", "custom", ""]
    assert found(None) == found(None, security=None) == ["session", ""]
    assert not caplog.records
    assert found({"basic": []}, security=[{"basic": []}]) == [""]
    assert [line.getMessage() for line in caplog.records] == [
        "the security of GET /x is no list: it gets no credential"
    ]
    caplog.clear()
    assert found(None, security={"basic": []}) == [""]
    assert len(caplog.records) == 1


@pytest.mark.requirement("D.scheme-providers")
def test_scopes_and_mapped_providers():
    about = {"security": [{"oauth": ["repo", "user"]}]}
    (tool,) = (
        api(
            document({"/x": {"get": about}}, components={"securitySchemes": SCHEMES}),
            scheme_providers={"oauth": "github"},
        )
        .tools()
        .values()
    )
    assert tool.needs.alternatives == ((Need(provider="github", scopes=frozenset({"repo", "user"})),),)
    own = operation("/x", about={"x-valetkey-provider": "Slack", "x-oauth2-scope": "chat:write"})
    assert own.needs.alternatives == ((Need(provider="slack", scopes=frozenset({"chat:write"})),),)


@pytest.mark.requirement("seed003.openapi")
@pytest.mark.parametrize(
    ("about", "alternatives"),
    [
        ({"x-auth-type": "bearer_token"}, ["bearer_token", "oauth2", "custom", ""]),
        ({"x-auth-type": "basic_auth"}, ["basic_auth", "custom", ""]),
        ({"x-auth-type": "API_KEY"}, ["api_key", ""]),
        ({"x-auth-type": "api_key", "x-api-key-header": "X-K"}, ["api_key", "custom", ""]),
        ({"x-auth-type": "oauth2"}, ["oauth2", "bearer_token", "custom", ""]),
        ({"x-auth-type": "custom"}, ["custom", ""]),
        ({"x-auth-type": "none"}, [""]),
        ({"x-basic-auth": True}, ["basic_auth", "custom", ""]),
        ({"x-auth-type": "mtls"}, [""]),
        ({"x-auth-type": None}, [""]),
        ({"x-auth-type": ["bearer_token"]}, [""]),
        ({"x-auth-type": "bearer_token", "security": []}, [""]),
    ],
)
def test_the_extensions_of_seed_003(about, alternatives):
    assert wanted(operation("/x", about=about)) == alternatives


@pytest.mark.requirement("seed003.bearer")
@pytest.mark.parametrize(
    ("tool", "loan", "headers", "target"),
    [
        (operation("/x"), bearer(), {"Authorization": "Bearer t0ken"}, "/x"),
        (operation("/x"), custom(X_A="1", X_B="2"), {"X-A": "1", "X-B": "2"}, "/x"),
        (secured(["bearer"]), bearer(), {"Authorization": "Bearer t0ken"}, "/x"),
        (secured(["basic"]), basic(), {"Authorization": "Basic dTpw"}, "/x"),
        (secured(["header"]), api_key(), {"X-Key": "k3y"}, "/x"),
        (secured(["query"]), api_key("k&y"), {}, "/x?api_key=k%26y"),
        (secured(["odd"]), api_key(), {}, "/x?api%5Bkey%5D=k3y"),
        (secured(["old"]), bearer(), {"Authorization": "Bearer t0ken"}, "/x"),
        (secured(["old"]), api_key(), {"Authorization": "k3y"}, "/x"),
        (secured(["cookie"]), api_key("k;y"), {"Cookie": "sid=k%3By"}, "/x"),
        (secured(["header"]), custom(x_key="c", X_B="2"), {"X-Key": "c"}, "/x"),
        (secured(["header"]), custom(X_Other="c"), {}, "/x"),
        (secured(["bearer"], ["header"]), custom(X_Key="c"), {"X-Key": "c"}, "/x"),
        (secured(["bearer", "header"]), custom(X_Key="c", Authorization="Z z"),
         {"X-Key": "c", "Authorization": "Z z"}, "/x"),
        (secured(["bearer"]), api_key(), {}, "/x"),
        (operation("/x", about={"x-auth-type": "bearer_token", "x-bearer-token-header": "X-Token"}), bearer(),
         {"X-Token": "Bearer t0ken"}, "/x"),
        (operation("/x", about={"x-auth-type": "api_key", "x-api-key-header": "X-K"}), api_key(), {"X-K": "k3y"}, "/x"),
        (operation("/x", about={"x-auth-type": "api_key"}), api_key(header="X-Mine"), {"X-Mine": "k3y"}, "/x"),
        (operation("/x", about={"x-auth-type": "custom", "x-custom-auth-headers": {"X-S": "1", "Host": "e", "Y": ""}}),
         custom(X_A="1"), {"X-S": "1", "X-A": "1"}, "/x"),
        (operation("/x", about={"x-auth-type": "bearer_token", "x-bearer-token-header": "Host"}), bearer(),
         {"Authorization": "Bearer t0ken"}, "/x"),
    ],
)  # fmt: skip
async def test_a_credential_goes_where_its_scheme_says(tool, loan, headers, target):
    request = await sent(tool, {}, loan)
    assert {name: value for name, value in request.headers.items() if name != "Accept"} == headers
    assert target_of(request) == target


async def test_a_token_that_its_provider_takes_in_the_query_goes_there():
    loan = Loan(handler="serpapi-token", query={"api_key": Secret("k 1&")}, token=Secret("k 1&"))
    request = await sent(operation("/x"), {}, loan)
    assert target_of(request) == "/x?api_key=k%201%26"
    assert list(request.headers) == ["Accept"]


class Prover:
    """Proves by what it was told."""

    def __init__(self):
        self.nonce = ""

    def headers(self, method, url):
        return {"DPoP": f"{method} {url} {self.nonce}"}

    def hear(self, url, nonce):
        new, self.nonce = bool(nonce) and nonce != self.nonce, nonce or self.nonce
        return new


def bound():
    return Loan(handler="x-oauth2", headers={"Authorization": Secret("DPoP t")}, prover=Prover(), token=Secret("t"))


@pytest.mark.requirement("G-21")
async def test_a_bound_token_goes_with_a_proof_for_this_request_and_alone_nowhere():
    request = await sent(operation("/x"), {}, bound())
    assert request.headers["Authorization"] == "DPoP t"
    assert request.headers["DPoP"] == f"GET {request.url} "
    public = await sent(secured(), {}, bound())
    assert list(public.headers) == ["Accept"]


@pytest.mark.requirement("G-22")
async def test_a_nonce_of_the_api_is_tried_once():
    class Asks(Remembers):
        """Always wants another one."""

        async def fetch(self, request):
            self.response = Response(status=401, headers=(("dpop-nonce", f"n-{len(self.requests)}"),))
            return await super().fetch(request)

    asks = Asks()
    tool = operation("/x", exchange=asks)
    with pytest.raises(OperationFailed):
        await sent(tool, {}, bound())
    assert [request.headers["DPoP"].rpartition(" ")[2] for request in asks.requests] == ["", "n-0"]


@pytest.mark.requirement("fault.dead-security")
async def test_a_public_operation_gets_nothing_whatever_was_lent():
    request = await sent(secured(), {}, bearer())
    assert list(request.headers) == ["Accept"]


@pytest.mark.requirement("fault.header-error", "fault.header-abuse")
@pytest.mark.parametrize(("name", "value"), [("X-A", "a\r\nX-B: 1"), ("Host", "evil.example"), ("Cookie", "a=b")])
async def test_what_no_header_of_a_credential_is_is_not_sent(name, value):
    request = await sent(operation("/x"), {}, Loan(handler="h", headers={name: Secret(value)}))
    assert list(request.headers) == ["Accept"]


async def test_an_argument_cannot_fill_what_a_credential_of_a_custom_kind_fills():
    exploded = operation("/x", about={"parameters": [param("q", schema={"type": "object"})]})
    loan = Loan(handler="session-custom", headers={"X-A": Secret("1")})
    assert target_of(await sent(exploded, {"q": {"X-A": "model"}}, loan)) == "/x?X-A=model"


@pytest.mark.requirement("X-06")
async def test_the_lent_credential_wins_and_an_argument_in_its_place_is_refused():
    tool = operation("/x", about={"parameters": [param("X-Mine", "header"), param("q", schema={"type": "object"})]})
    with pytest.raises(InvalidArguments, match="X-Mine is filled by the credential"):
        await sent(tool, {"X-Mine": "model"}, api_key(header="X-Mine"))
    needed = operation("/x", about={"parameters": [param("X-Mine", "header", required=True)]})
    assert (await sent(needed, {"X-Mine": "model"}, api_key(header="X-Mine"))).headers["X-Mine"] == "k3y"
    about = {"parameters": [param("q", schema={"type": "object"})], "security": [{"query": []}]}
    keyed = operation("/x", about=about, components={"securitySchemes": SCHEMES})
    with pytest.raises(InvalidArguments, match="api_key is filled by a credential"):
        keyed.bind({"q": {"API_KEY": "model"}})


@pytest.mark.requirement("X-06")
async def test_a_free_body_cannot_hold_what_a_credential_fills():
    body = {
        "content": {"application/x-www-form-urlencoded": {"schema": {"type": "object", "additionalProperties": True}}}
    }
    tool = operation(
        "/x", "post", about={"requestBody": body, "security": [{"query": []}]}, components={"securitySchemes": SCHEMES}
    )
    with pytest.raises(InvalidArguments, match="api_key is not a parameter"):
        tool.bind({"api_key": "model"})


@pytest.mark.requirement("X-08")
async def test_a_providers_credential_goes_only_where_it_is_for():
    loan = Loan(handler="github-oauth2", headers={"Authorization": Secret("Bearer gh")}, token=Secret("gh"))
    tool = secured(["marked"])
    with pytest.raises(Denied, match="is not lent to"):
        await tool.run(
            lent(tool, loan, providers=("github",), origins=frozenset({"https://api.github.com"})), tool.bind({})
        )
    fitting = frozenset({"https://api.example.com"})
    request = await sent(tool, {}, loan, providers=("github",), origins=fitting)
    assert request.headers["Authorization"] == "Bearer gh"


def test_what_is_lent_prints_nowhere():
    tool = secured(["query"])
    assert "k3y" not in repr(tool) + repr(tool.bind({})) + repr(lent(tool, api_key()))


def test_a_scheme_that_settings_name_and_the_document_has_not_is_told_once(caplog):
    schemes = {"securitySchemes": {"there": {"type": "oauth2"}}}
    documents = [document({"/items": {"get": {}}}, components=schemes) for _ in range(2)]
    tools = OpenApi(
        document=documents.pop,
        exchange=Remembers(),
        base_url=BASE,
        in_process=False,
        scheme_providers={"there": "github", "GitHbu": "github"},
    )
    assert tools.tools() is not tools.tools()
    told = [record.getMessage() for record in caplog.records if "scheme_providers" in record.getMessage()]
    assert told == ["scheme_providers names the security scheme GitHbu, and the OpenAPI document has none of that name"]
