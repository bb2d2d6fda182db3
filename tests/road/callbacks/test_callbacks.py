"""Which callback is an answer to which link: state, PKCE, issuer, mix-up (security case tables 1.3 and 1.4)."""

import asyncio
import base64
import hashlib
import re
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from tests.road.callbacks.program import changed, fields_of
from tests.road.forms import over_http
from tests.road.support import get, write_settings
from valetkey import Pocket, PocketAuth
from valetkey.adapters.system import SystemEntropy
from valetkey.providers.base import Provider
from valetkey.providers.endpoints import PLACEHOLDER
from valetkey.providers.registry import Registry
from valetkey.settings.pocket import Config
from valetkey.wiring import build


class TestState:
    async def test_o01_missing_unknown_or_empty(self, program):
        callback = await program.callback()
        for state in (None, "", "unknown", "A" * 43, "%00", "../../etc/passwd", "' OR 1=1--", "x" * 10_000):
            await program.refused(changed(callback, state=state))
        assert (await asyncio.to_thread(get, callback)).status == 200, "the flow itself was not touched"

    async def test_o02_the_same_callback_twice(self, program):
        callback = await program.callback()
        assert (await asyncio.to_thread(get, callback)).status == 200
        for _ in range(3):
            await program.refused(callback)
        assert program.token_calls == 1
        assert int(await program.pocket.ainvoke("honest", {})) > 20

    async def test_o03_too_old(self, program):
        callback = await program.callback()
        program.clock.advance(601)
        page = await program.refused(callback, 410, changes=True)
        assert "too old" in page.body
        assert await program.callback() != callback

    async def test_o03_and_not_one_second_earlier(self, program):
        link = await program.link()
        program.clock.advance(599)
        assert (await asyncio.to_thread(get, over_http(program.server.approve(link), program.ports))).status == 200

    def test_o04_a_hundred_thousand_are_all_different_and_of_256_bits(self):
        drawn = {SystemEntropy().token(32) for _ in range(100_000)}
        assert len(drawn) == 100_000
        assert {len(base64.urlsafe_b64decode(f"{state}=")) for state in drawn} == {32}

    async def test_o04_the_state_of_a_link_is_such_a_one(self, program):
        states = {fields_of(await program.link(name))["state"] for name in ("honest", "plain", "bare", "other")}
        assert len(states) == 4
        assert {len(base64.urlsafe_b64decode(f"{state}=")) for state in states} == {32}


def client_of(entry: Provider) -> str:
    """Settings of a client, and what fills the placeholders of that provider's addresses."""
    found = {name for handler in entry.handlers for name in PLACEHOLDER.findall(repr(handler.oauth2))} - {"client_id"}
    values = [f'{name} = "{"https://my.example" if "url" in name else "my"}"' for name in sorted(found)]
    return "\n".join([f"[auth.{entry.name}]", 'client_id = "x"', 'client_secret = "y"', *values])


class TestPkce:
    async def test_o06_the_verifier_that_is_sent_is_the_one_of_the_challenge(self, program):
        verifiers = []
        for name in ("honest", "plain", "bare"):
            link = await program.link(name)
            assert fields_of(link)["code_challenge_method"] == "S256"
            assert (await asyncio.to_thread(get, over_http(program.server.approve(link), program.ports))).status == 200
            sent = program.server.requests[-1].form["code_verifier"]
            verifiers.append(sent)
            assert re.fullmatch(r"[A-Za-z0-9._~-]{43,128}", sent)
            digest = base64.urlsafe_b64encode(hashlib.sha256(sent.encode()).digest()).decode().rstrip("=")
            assert fields_of(link)["code_challenge"] == digest
        assert len(set(verifiers)) == 3

    async def test_o06_o07_every_provider_that_we_ship_has_it_but_those_that_say_they_refuse_it(self, ports):
        entries = [Registry().get(name) for name in Registry().names()]
        speaking = [(entry, one.name, one.oauth2) for entry in entries for one in entry.handlers if one.oauth2]
        # The endpoints of the others are asked of their issuers; what is sent there is made by the same code.
        assert all(oauth2.pkce for _, _, oauth2 in speaking if not oauth2.authorize.url)
        handlers = {handler: entry for entry, handler, oauth2 in speaking if oauth2.authorize.url}
        names = {entry.name: entry for entry in handlers.values()}
        write_settings(ports, *(client_of(entry) for entry in names.values()))
        auth, without = PocketAuth(), set()
        for handler, entry in handlers.items():
            asked = auth.make_request(auth_scopes=["one"], auth_handler_name=handler)
            told = await auth.prepare(asked, auth_handler_name=handler)
            assert told is not None
            fields = fields_of(told.rpartition(" ")[2])
            assert len(base64.urlsafe_b64decode(fields["state"] + "=")) == 32
            if "code_challenge" not in fields:
                without.add(entry.name)
                continue
            assert fields["code_challenge_method"] == "S256"
            assert len(fields["code_challenge"]) == 43
        assert len(names) >= 200
        # LinkedIn's token endpoint refuses a verifier beside a client secret; TikTok knows it for apps of a phone only.
        assert without == {"linkedin", "tiktok"}


class TestIssuer:
    """RFC 9207 §2.4; (promised, there, equal)."""

    async def test_o09_promised_and_equal(self, program):
        assert (await asyncio.to_thread(get, await program.callback("honest"))).status == 200

    async def test_o09_promised_and_absent(self, program):
        await program.refused(changed(await program.callback("honest"), iss=None))

    async def test_o09_known_and_different(self, program):
        await program.refused(changed(await program.callback("plain"), iss="https://elsewhere.example"))

    @pytest.mark.parametrize("name", ["plain", "bare"])
    async def test_o09_not_promised_and_absent(self, program, name):
        assert (await asyncio.to_thread(get, changed(await program.callback(name), iss=None))).status == 200

    @pytest.mark.parametrize("name", ["honest", "plain"])
    async def test_o10_it_is_never_normalised(self, program, name):
        callback = await program.callback(name)
        issuer = program.server.issuer
        port = urlsplit(issuer).port
        variants = [
            f"{issuer}/",
            f"{issuer}?",
            issuer.upper(),
            issuer.replace("http", "HTTP"),
            issuer.replace("127.0.0.1", "127.1"),
            issuer.replace("127.0.0.1", "localhost"),
            issuer.replace(f":{port}", f":0{port}"),
            issuer.replace("://", ":%2F%2F"),
            f"{issuer}%2F",
            f" {issuer}",
            f"{issuer}\n",
            issuer[:-1],
        ]
        for variant in variants:
            await program.refused(changed(callback, iss=variant))
        assert (await asyncio.to_thread(get, callback)).status == 200

    async def test_o11_a_wrong_one_on_an_error_shows_nothing_of_that_error(self, program):
        callback = await program.callback(deny=True)
        said = {"error_description": "Call 555-0100 now", "error_uri": "https://evil.example/help"}
        page = await program.refused(changed(callback, iss="https://evil.example", **said))
        for word in ("555", "evil", "denied"):
            assert word not in page.body
        assert (await asyncio.to_thread(get, callback)).status == 403, "the real no is heard afterwards"


class TestMixUp:
    async def test_l05_the_state_of_one_provider_at_the_callback_of_another(self, program):
        honest, other = await program.callback("honest"), await program.callback("other")
        states = fields_of(honest)["state"], fields_of(other)["state"]
        await program.refused(changed(honest, state=states[1]))
        await program.refused(changed(other, state=states[0]))
        await program.refused(honest.replace("/honest/", "/other/"))
        await program.refused(other.replace("/other/", "/honest/"))
        await program.refused(honest.replace("/honest/", "/nosuch/"))
        assert program.accounts() == 0
        for callback in (honest, other):
            assert (await asyncio.to_thread(get, callback)).status == 200
        assert program.server.exchanges == program.other.exchanges == 1

    async def test_l05_the_code_of_one_provider_in_the_answer_of_another_is_only_sent_to_the_other(self, program):
        honest, other = await program.callback("honest"), await program.callback("other")
        swapped = changed(honest, code=fields_of(other)["code"])
        page = await asyncio.to_thread(get, swapped)
        assert page.status == 403
        assert program.other.exchanges == 0
        assert program.accounts() == 0

    async def test_l06_no_two_providers_share_a_redirect_uri(self, program):
        system = program.system
        found = [system.links.redirect_uri(system.handling.find(None, name)) for name in system.registry.names()]
        assert len(found) == len(set(found)) >= 23
        registered = {
            fields_of(await program.link(name))["redirect_uri"] for name in ("honest", "plain", "bare", "other")
        }
        assert len(registered) == 4

    async def test_l06_names_that_look_alike_do_not_meet(self, program):
        callback = await program.callback("honest")
        for name in ("honest%20", "honest/", "h%6Fnest%2F", quote("honést")):
            page = await asyncio.to_thread(lambda: get(callback.replace("/honest/", f"/{name}/")))  # noqa: B023
            assert page.status in (400, 404)
        assert program.token_calls == 0


@pytest.mark.requirement("R-07")
async def test_o31_a_code_whose_exchange_ended_unclear_is_not_sent_by_anybody_again(program):
    callback = await program.callback()
    program.server.fail_next(drop=True)
    page = await asyncio.to_thread(get, callback)
    assert page.status == 409
    program.clean(page)
    assert program.token_calls == 1
    for _ in range(3):
        await program.refused(callback)
    build.use(build.build(Config.load(Path.cwd(), {}), clock=program.clock))
    with Pocket(tools=[program.pocket.tools["honest"]]) as again:
        await again.initialize_tool_auth()
        await program.refused(callback)
    assert program.token_calls == 1


@pytest.mark.requirement("R-33")
async def test_four_callbacks_at_once_exchange_one_code(program):
    callback = await program.callback()
    pages = await asyncio.gather(*(asyncio.to_thread(get, callback) for _ in range(8)))
    assert {page.status for page in pages} <= {200, 400}
    assert program.token_calls == 1
    assert program.accounts() == 1
