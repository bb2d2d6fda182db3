"""Whose an account is: what is sent, how each answer is read, and what happens where the provider tells nothing."""

from dataclasses import replace
from typing import Any

import pytest

from tests.connections.kit import world
from tests.oauth.fakes import Dice, Settings, Wire, answer, provider, tokens
from valetkey.connections.handler import Flow
from valetkey.connections.handlers.oauth2 import OAuth2Handler
from valetkey.connections.handlers.pasted import PastedHandler
from valetkey.connections.whose import Account, Refused, Unknown, Whose
from valetkey.errors import AuthRefused, BlockedAddress, ExchangeFailed, InvalidAnswer
from valetkey.model.caller import Owner
from valetkey.model.connections import Credential, Grant, Subject
from valetkey.ports.world import Response, Trust
from valetkey.providers.base import Endpoint, HandlerEntry, HandlerKind, PastedField, Placement, Provider, Userinfo
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock

URL = "https://api.example.com/me"
TOKEN = "xyz-canary-token-0123456789"
ASKED = Userinfo(url=Endpoint(URL), account=("user.email", "accounts.0.name"), subject="user.id")
OWNER = Owner(workspace="w", issuer="host", subject="default")


def pasted(wire: Wire, asked: Userinfo | None = ASKED, **entry: Any) -> PastedHandler:
    made = HandlerEntry(
        **{
            "name": "example-token",
            "kind": HandlerKind.TOKEN,
            "variables": {"EXAMPLE_TOKEN": "access_token"},
            "fields": (PastedField(name="access_token", label="Example token"),),
            "userinfo": asked,
            **entry,
        }
    )
    origins = frozenset({"https://api.example.com"})
    named = Provider(name="example", title="Example", handlers=(made,), origins=origins)
    return PastedHandler(provider=named, entry=made, whose=Whose(wire))


async def told(given: Response | Exception, asked: Userinfo = ASKED) -> object:
    wire = Wire(given)
    handler = pasted(wire, asked)
    return await Whose(wire).ask(handler, Credential(access_token=Secret(TOKEN)))


@pytest.mark.requirement("F.pasted-tried")
class TestWhatIsSent:
    async def test_the_credential_goes_where_the_provider_takes_it(self):
        for placement, headers, url in (
            (Placement(), {"authorization": f"Bearer {TOKEN}"}, URL),
            (Placement(header="X-Api-Key", prefix=""), {"x-api-key": TOKEN}, URL),
            (Placement(header="", prefix="", query="key"), {}, f"{URL}?key={TOKEN}"),
        ):
            wire = Wire(answer({"user": {"email": "ada@example.com", "id": 7}}))
            handler = pasted(
                wire, replace(ASKED, headers={"X-Version": "2", "Authorization": "none"}), placement=placement
            )
            kept = await handler.tried({"access_token": TOKEN})
            (sent,) = wire.requests
            assert sent.url == url
            assert sent.method == "GET"
            assert sent.trust is Trust.CATALOGUE
            assert sent.deadline <= 5
            assert (
                dict(sent.headers)
                == {"accept": "application/json", "x-version": "2", "authorization": "none"} | headers
            )
            grant = await handler.finish(flow(), {}, kept)
            assert grant.account == "ada@example.com"
            assert grant.credential.subject is not None
            assert grant.credential.subject.subject == "7"
            assert set(grant.credential.fields) == set()

    async def test_a_body_is_json_and_an_address_that_the_operator_named_is_theirs(self):
        asked = Userinfo(
            url=Endpoint("http://127.0.0.1:1/graph", operator=True), method="POST", body='{"query":"{me}"}'
        )
        wire = Wire(answer({}))
        await pasted(wire, asked).tried({"access_token": TOKEN})
        (sent,) = wire.requests
        assert sent.trust is Trust.OPERATOR
        assert sent.body == b'{"query":"{me}"}'
        assert sent.headers["content-type"] == "application/json"

    async def test_a_user_name_and_password_go_as_basic_and_a_name_is_no_secret(self):
        wire = Wire(answer({"user": {"email": "ada"}}))
        fields = (
            PastedField(name="username", label="User", secret=False),
            PastedField(name="password", label="Password"),
        )
        handler = pasted(wire, kind=HandlerKind.BASIC, fields=fields, variables={"EXAMPLE": "basic"})
        kept = await handler.tried({"username": "ada", "password": "p4ss"})
        assert wire.requests[0].headers["authorization"] == "Basic YWRhOnA0c3M="
        assert (await handler.finish(flow(), {}, kept)).account == "ada"

    async def test_nothing_is_sent_beyond_the_providers_own_origins(self):
        wire = Wire()
        for asked in (None, replace(ASKED, url=Endpoint("https://api.example.com.evil.test/me"))):
            handler = pasted(wire, asked)
            assert (await handler.finish(flow(), {}, await handler.tried({"access_token": TOKEN}))).account is None
        assert wire.requests == []


@pytest.mark.requirement("F.pasted-tried")
class TestHowAnAnswerIsRead:
    async def test_who_it_is(self):
        for body, name in (
            ({"user": {"email": "ada@example.com"}, "accounts": [{"name": "Ada"}]}, "ada@example.com"),
            ({"user": {"email": ""}, "accounts": [{"name": "Ada\x1b[2J\n \u202eL"}]}, "Ada [2J L"),
            ({"user": {"email": True}, "accounts": [{"name": "é" * 300}]}, "é" * 199 + "…"),
            ({"user": None, "accounts": []}, ""),
            ([1], ""),
            ({"user": {"email": f"I am {TOKEN}"}}, ""),
            ({"user": {"email": TOKEN}}, ""),
        ):
            found = await told(answer(body))
            assert isinstance(found, Account)
            assert found.name == name
        header = Userinfo(url=Endpoint(URL), header_account="X-Who")
        assert await told(Response(status=204, headers=(("x-who", "acme"),)), header) == Account(name="acme")
        assert await told(Response(status=200, body=b"no json")) == Account()

    async def test_a_refusal_by_status_or_by_what_the_body_says(self):
        slack = replace(ASKED, success_field="ok")
        for given, asked, code in (
            (answer({}, 401), ASKED, "401"),
            (answer({"error": {"code": "token_revoked"}}, 403), ASKED, "token_revoked"),
            (answer({"error": f"{TOKEN}"}, 401), ASKED, "401"),
            (answer({"ok": False, "error": "invalid_auth"}), slack, "invalid_auth"),
        ):
            assert await told(given, asked) == Refused(code=code)

    async def test_all_else_says_nothing_of_the_credential(self):
        slack = replace(ASKED, success_field="ok")
        for given, asked in (
            (answer({}, 500), ASKED),
            (answer({}, 429), ASKED),
            (answer({}, 404), ASKED),
            (answer({}, 302), ASKED),
            (answer({}, 403, www_authenticate='Bearer error="insufficient_scope"'), ASKED),
            (answer({}, 403, retry_after="60"), ASKED),
            (answer({"ok": False}), slack),
            (answer({"ok": "yes"}), slack),
            (answer({"ok": False, "error": "ratelimited"}), slack),
            (Response(status=200, body=b"<html>"), slack),
            (ExchangeFailed("no answer", sent=True), ASKED),
            (BlockedAddress("not there"), ASKED),
        ):
            assert isinstance(await told(given, asked), Unknown), given

    async def test_a_refused_token_is_told_and_an_outage_locks_nobody_out(self):
        handler = pasted(Wire(answer({"error": "invalid_auth"}, 401)))
        with pytest.raises(
            InvalidAnswer, match=r"Example does not accept this token \(invalid_auth\)\. Copy it again\."
        ):
            await handler.tried({"access_token": TOKEN})
        handler = pasted(Wire(ExchangeFailed("no answer", sent=True)))
        grant = await handler.finish(flow(), {}, await handler.tried({"access_token": TOKEN}))
        assert grant.account is None
        assert grant.note == "It could not be checked: Example could not be asked. It is kept as it was given."


class TestOAuth2:
    def handler(self, wire: Wire, asked: Userinfo | None = None) -> OAuth2Handler:
        named = provider()
        asked = asked or Userinfo(
            url=Endpoint("https://as.test/userinfo", operator=True), account=("name",), subject="sub"
        )
        entry = replace(named.handlers[0], userinfo=asked)
        named = replace(named, handlers=(entry,))
        return OAuth2Handler(provider=named, entry=entry, world=world(Settings().clients, wire, Dice(), ManualClock()))

    def grant(self, sub: str | None) -> Grant:
        subject = None if sub is None else Subject(issuer="https://idp.test", subject=sub, audience=frozenset({"id"}))
        return Grant(credential=Credential(access_token=Secret(TOKEN), refresh_token=Secret("rt-1"), subject=subject))

    async def test_the_account_is_told_and_its_subject_where_no_id_token_did(self):
        for sub, issuer in ((None, "https://as.test"), ("ada", "https://idp.test")):
            wire = Wire(answer({"sub": "ada", "name": "Ada L"}))
            found = await Whose(wire).told(self.grant(sub), self.handler(wire))
            assert wire.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
            assert found.account == "Ada L"
            assert found.credential.subject is not None
            assert (found.credential.subject.issuer, found.credential.subject.subject) == (issuer, "ada")

    @pytest.mark.requirement("O-29")
    async def test_another_account_than_the_id_tokens_is_refused_and_its_tokens_go_back(self):
        wire = Wire(answer({"sub": "eve"}), Response(status=200), Response(status=200))
        with pytest.raises(AuthRefused, match="one account when it signed you in and another"):
            await Whose(wire).told(self.grant("ada"), self.handler(wire))
        assert [request.url.rpartition("/")[2] for request in wire.requests] == ["userinfo", "revoke", "revoke"]
        # What an API calls an account is no claim of the ID token's.
        wire = Wire(answer({"id": "U1", "name": "Ada"}))
        asked = Userinfo(url=Endpoint("https://as.test/me", operator=True), account=("name",), subject="id")
        found = await Whose(wire).told(self.grant("ada"), self.handler(wire, asked))
        assert found.account == "Ada"

    async def test_an_outage_or_a_refusal_changes_nothing(self):
        for given in (answer({}, 401), answer({}, 500), ExchangeFailed("no answer", sent=True)):
            wire = Wire(given)
            grant = self.grant(None)
            assert await Whose(wire).told(grant, self.handler(wire)) == grant

    async def test_a_refresh_with_an_id_token_does_not_take_the_origin_for_an_issuer(self):
        from tests.connections.test_oauth2_handler import ID_TOKEN

        wire = Wire(answer({"sub": "ada", "name": "Ada"}), tokens(id_token=ID_TOKEN))
        handler = self.handler(wire)
        found = await Whose(wire).told(self.grant(None), handler)
        renewed = await handler.refresh(found.credential, frozenset())
        assert renewed.credential.access_token


async def test_settings_say_where_it_is_asked_or_that_it_is_not():
    from valetkey.providers.endpoints import override

    named = replace(provider(), handlers=(replace(provider().handlers[0], userinfo=ASKED),))
    (entry,) = override(named, userinfo_url="http://127.0.0.1:1/me").handlers
    assert entry.userinfo is not None
    assert entry.userinfo.url == Endpoint("http://127.0.0.1:1/me", operator=True)
    assert entry.userinfo.account == ASKED.account
    # A token of another server is not shown to the catalogue's.
    others: tuple[dict[str, Any], ...] = (
        {"userinfo_url": ""},
        {"token_url": "http://127.0.0.1:1/token"},
        {"issuer": "http://127.0.0.1:1"},
    )
    for setting in others:
        assert override(named, **setting).handlers[0].userinfo is None
    shop = replace(
        named, handlers=(replace(entry, userinfo=replace(ASKED, url=Endpoint("https://{shop}.example.com"))),)
    )
    assert override(shop).handlers[0].userinfo is None
    found = override(shop, values={"shop": "acme"}).handlers[0].userinfo
    assert found is not None
    assert found.url == Endpoint("https://acme.example.com", operator=True)


def flow() -> Flow:
    return Flow(state="s", owner=OWNER, profile="default", scopes=frozenset(), redirect_uri="", pages="")
