"""Pasted values: the page's link, what is taken and what is not (A-15), what a tool gets."""

import base64
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valetkey.connections.handler import Flow
from valetkey.connections.handlers.pasted import PastedHandler
from valetkey.errors import InvalidAnswer, RefreshFailed
from valetkey.model.caller import Owner
from valetkey.model.connections import Credential
from valetkey.providers.base import HandlerEntry, HandlerKind, PastedField, Provider
from valetkey.secret import Secret

TOKEN = HandlerEntry(
    name="example-token",
    kind=HandlerKind.TOKEN,
    variables={"EXAMPLE_TOKEN": "access_token"},
    fields=(PastedField(name="access_token", label="Example token"),),
)
BASIC = HandlerEntry(
    name="example-basicauth",
    kind=HandlerKind.BASIC,
    variables={"EXAMPLE_AUTH": "basic", "EXAMPLE_USER": "username"},
    fields=(
        PastedField(name="username", label="User name", secret=False),
        PastedField(name="password", label="Password"),
    ),
)
KEY_PAIR = HandlerEntry(
    name="example-keypair",
    kind=HandlerKind.KEY_PAIR,
    variables={"EXAMPLE_KEY": "api_key", "EXAMPLE_SECRET": "api_secret"},
    fields=(
        PastedField(name="api_key", label="API key"),
        PastedField(name="api_secret", label="Private key"),
    ),
)


def flow(state="state-1"):
    return Flow(
        state=state,
        owner=Owner(workspace="w", issuer="host", subject="default"),
        profile="default",
        scopes=frozenset(),
        redirect_uri="",
        pages="https://localhost:8001/proxy",
    )


def handler(entry):
    return PastedHandler(provider=Provider(name="example", title="Example", handlers=(entry,)), entry=entry)


def judged(entry, **pasted):
    return handler(entry).judge({}, list(pasted.items()))


async def credential(entry, **pasted):
    made = handler(entry)
    return (await made.finish(flow(), {}, made.judge({}, list(pasted.items())))).credential


class TestLink:
    @pytest.mark.parametrize(("entry", "path"), [(TOKEN, "token"), (BASIC, "basicauth"), (KEY_PAIR, "keypair")])
    async def test_our_own_page(self, entry, path):
        begun = await handler(entry).begin(flow("st&te/1"))
        assert begun.url.startswith(f"https://localhost:8001/proxy/auth/example/{path}?")
        assert parse_qs(urlsplit(begun.url).query) == {"state": ["st&te/1"]}
        assert dict(begun.private) == {}

    def test_the_page_asks_for_the_entrys_fields(self):
        assert [field.name for field in handler(BASIC).fields] == ["username", "password"]

    @pytest.mark.parametrize(
        ("kind", "names"),
        [
            (HandlerKind.TOKEN, ["user_token"]),
            (HandlerKind.BASIC, ["username", "password"]),
            (HandlerKind.KEY_PAIR, ["api_key", "private_key"]),
        ],
    )
    def test_or_for_the_usual_ones(self, kind, names):
        assert [field.name for field in handler(HandlerEntry(name="x", kind=kind)).fields] == names


class TestJudge:
    @pytest.mark.parametrize("around", ["", " ", "\n", "\r\n", "\t \n", "\u00a0"])
    def test_white_space_around_it_is_trimmed(self, around):
        assert judged(TOKEN, access_token=f"{around}xoxb-1{around}") == {"access_token": "xoxb-1"}

    @pytest.mark.parametrize(
        ("pasted", "message"),
        [
            ("", "empty"),
            (" \n", "empty"),
            ("canary\r\nX-Evil: 1", "line break"),
            ("canary\nx", "line break"),
            ("canary\x00x", "control"),
            ("canary\x7fx", "control"),
            ("canary\u202ex", "ASCII"),
            ("canäry", "ASCII"),
            ("“canary”", "ASCII"),
            ("Bearer canary", "Bearer"),
            ("bearer canary", "Bearer"),
            ("BEARER\tcanary", "Bearer"),
            ("Bearer", "Bearer"),
            ("canary" * 2000, "8192"),
        ],
    )
    @pytest.mark.parametrize("entry", [TOKEN, KEY_PAIR], ids=["token", "keypair"])
    def test_what_can_be_no_such_value_is_explained_and_not_repeated(self, entry, pasted, message):
        last = entry.fields[-1]
        if pasted == "BEARER\tcanary":
            message = "control character"
        with pytest.raises(InvalidAnswer, match=message) as refused:
            judged(entry, **({"api_key": "k"} | {last.name: pasted}))
        assert last.label in str(refused.value)
        assert "can" not in str(refused.value).replace("cannot", "")

    @pytest.mark.parametrize("pasted", ["a" * 8192, "bearer-token-1", "Basic-1", "a b"])
    def test_what_can_be_one_is_taken(self, pasted):
        assert judged(TOKEN, access_token=pasted) == {"access_token": pasted}

    def test_a_missing_field_is_named(self):
        with pytest.raises(InvalidAnswer, match="Private key is empty"):
            judged(KEY_PAIR, api_key="k")

    def test_a_field_that_is_sent_twice(self):
        with pytest.raises(InvalidAnswer, match="twice"):
            handler(TOKEN).judge({}, [("access_token", "a"), ("access_token", "b")])

    def test_nothing_else_is_kept(self):
        assert judged(TOKEN, access_token="t", state="s", csrf="c", redirect_uri="https://evil.test") == {
            "access_token": "t"
        }

    @pytest.mark.parametrize("username", ["a:b", ":"])
    def test_a_user_name_with_a_colon(self, username):
        with pytest.raises(InvalidAnswer, match="colon"):
            judged(BASIC, username=username, password="p")

    @pytest.mark.parametrize("password", ["p:w:d", "pässwörd", "パスワード", "Bearer x"])
    def test_a_password_of_any_letters(self, password):
        assert judged(BASIC, username="ann", password=password)["password"] == password

    @pytest.mark.parametrize("password", ["a\nb", "a\x00b", "a\u202eb", "a\u200bb", "a\u2028b", "a\ud800b"])
    def test_but_of_none_that_cannot_be_seen(self, password):
        with pytest.raises(InvalidAnswer, match="Password"):
            judged(BASIC, username="ann", password=password)

    def test_letters_are_normalised(self):
        assert judged(BASIC, username="ann", password="u\u0308")["password"] == "\u00fc"

    @given(st.text())
    def test_whatever_is_pasted_fits_into_a_header_or_is_refused(self, pasted):
        try:
            kept = judged(TOKEN, access_token=pasted)["access_token"]
        except InvalidAnswer:
            return
        assert kept.isascii()
        assert kept.isprintable()
        assert kept == kept.strip() != ""


class TestCredential:
    async def test_a_token_is_the_access_token(self):
        found = await credential(TOKEN, access_token="xoxb-1")
        assert found == Credential(access_token=Secret("xoxb-1"))
        assert handler(TOKEN).variables(found) == {"EXAMPLE_TOKEN": Secret("xoxb-1")}

    async def test_under_whatever_name_it_was_pasted(self):
        entry = HandlerEntry(name="x", kind=HandlerKind.TOKEN, variables={"A": "user_token", "B": "access_token"})
        found = await credential(entry, user_token="t")
        assert handler(entry).variables(found) == {"A": Secret("t"), "B": Secret("t")}

    async def test_an_entry_without_variables_has_the_usual_one(self):
        entry = HandlerEntry(name="x", kind=HandlerKind.TOKEN)
        found = await credential(entry, user_token="t")
        assert handler(entry).variables(found) == {"EXAMPLE_TOKEN": Secret("t")}
        assert handler(entry).variable_names() == {"EXAMPLE_TOKEN"}

    async def test_a_user_name_and_password_as_rfc_7617_has_them(self):
        # RFC 7617 §2 and §2.1: the examples' own values.
        found = await credential(BASIC, username="Aladdin", password="open sesame")
        assert handler(BASIC).variables(found) == {
            "EXAMPLE_AUTH": Secret("QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            "EXAMPLE_USER": Secret("Aladdin"),
        }
        found = await credential(BASIC, username="test", password="123\u00a3")
        assert found.fields["basic"] == Secret("dGVzdDoxMjPCow==")
        assert not found.access_token

    async def test_a_key_pair_by_its_names(self):
        found = await credential(KEY_PAIR, api_key="k-1", api_secret="s-1")
        assert handler(KEY_PAIR).variables(found) == {
            "EXAMPLE_KEY": Secret("k-1"),
            "EXAMPLE_SECRET": Secret("s-1"),
        }
        assert handler(KEY_PAIR).variable_names() == {"EXAMPLE_KEY", "EXAMPLE_SECRET"}

    async def test_it_does_not_print(self):
        coded = base64.b64encode(b"canary-u:canary-p").decode()
        found = await credential(BASIC, username="canary-u", password="canary-p")
        assert "canary" not in repr(found)
        assert coded not in repr(found)

    async def test_nothing_renews_it(self):
        found = await credential(TOKEN, access_token="t")
        assert not handler(TOKEN).can_refresh(found)
        with pytest.raises(RefreshFailed, match="connect again"):
            await handler(TOKEN).refresh(found, frozenset())

    async def test_it_has_no_scopes_and_no_end(self):
        made = handler(TOKEN)
        grant = await made.finish(flow(), {}, {"access_token": "t"})
        assert (grant.scopes, grant.expires_at, made.scoped) == (None, None, False)
