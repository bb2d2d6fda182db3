"""A provider that repeats secrets in its answers: none of them is told on."""

import asyncio
import json
import secrets
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from tests.road.canary.journey import CLIENT_SECRET, NEW, OWNER, SCOPE, length
from tests.road.forms import over_http
from valetkey import AuthProvider, InvalidSetting, ProviderUnavailable, ValetkeyError


def echoes(secret: str) -> dict[str, dict[str, Any]]:
    """Answers of a token endpoint that repeat what they should not."""
    said = json.dumps({"error": "invalid_request", "error_description": f"bad value {secret} given"})
    return {
        "a page": {"html": True, "body": f"<h1>{secret}</h1>"},
        "a page and 500": {"html": True, "status": 500, "body": f"<pre>{secret}</pre>"},
        "500": {"status": 500, "body": said},
        "429": {"status": 429, "body": said, "headers": {"retry-after": secret}},
        "a refusal": {"status": 400, "body": said},
        "a refused grant": {"status": 400, "body": said.replace("invalid_request", "invalid_grant")},
        "a refused client": {"status": 401, "body": said.replace("invalid_request", "invalid_client")},
        "a code of its own": {"status": 400, "body": json.dumps({"error": secret})},
        "an error object": {"status": 400, "body": json.dumps({"error": {"type": "x", "message": secret}})},
        "a message": {"status": 422, "body": json.dumps({"message": secret})},
        "200 and a message": {"status": 200, "body": json.dumps({"message": secret})},
        "half an answer": {"status": 200, "body": '{"access_token": ' + json.dumps(secret)},
        "a strange type": {"status": 200, "body": json.dumps({"access_token": NEW, "token_type": secret})},
        "a strange scope": {
            "status": 200,
            "body": json.dumps({"access_token": NEW, "token_type": "bearer", "scope": f"{SCOPE} {secret}"}),
        },
        "a redirect": {"status": 307, "headers": {"location": f"http://127.0.0.1:9/?{quote(secret)}"}},
        "a content type": {"status": 200, "body": "{}", "headers": {"content-type": f'x/y; z="{secret}"'}},
    }


class TestEchoes:
    """A provider that repeats secrets in its answers: none of them is told on."""

    async def test_while_a_code_is_exchanged(self, journey):
        watch, server = journey.watch, journey.server
        pocket = journey.pocket(length)
        for name in echoes(""):
            (prompt,) = await pocket.initialize_tool_auth()
            verifier = await journey.verifier()
            callback = over_http(server.approve(prompt.url), journey.ports)
            watch.secret(verifier)
            server.fail_next(**echoes(f"{CLIENT_SECRET} {server.codes[-1]} {verifier} {NEW}")[name])
            page = await asyncio.to_thread(watch.get, callback)
            assert page.status in (403, 409), (name, page.status)
            with watch.raising(ValetkeyError):
                await pocket.wait_tool_auth()
        sent = [request for request in server.requests if request.path == "/token"]
        assert len(sent) == len(echoes("")), "each code was sent once"
        watch.files("after all")
        journey.end()

    async def test_while_a_token_is_refreshed(self, journey):
        watch, server = journey.watch, journey.server
        pocket = journey.pocket(length)
        await journey.connect(pocket)
        for name in echoes(""):
            journey.clock.advance(3901)
            (row,) = await journey.system.stores.connections.of_owner(OWNER)
            held = journey.system.sealer.open_credential(row).refresh_token
            assert held is not None
            server.fail_next(**echoes(f"{CLIENT_SECRET} {held.reveal()} {NEW}")[name])
            try:
                watch.result(name, (await pocket.ainvoke("length", {})).partition("http")[0])
            except (ProviderUnavailable, InvalidSetting) as error:
                watch.error(name, error)
            (row,) = await journey.system.stores.connections.of_owner(OWNER)
            watch.objects(row=row)
            watch.files(f"after {name}")
            await journey.connect(pocket)
        journey.end()

    async def test_while_a_token_is_revoked(self, journey):
        pocket = journey.pocket(length)
        faults = echoes(CLIENT_SECRET)
        for name in ("a page and 500", "a refusal", "a refused client", "an error object", "a redirect"):
            await journey.connect(pocket)
            journey.server.fail_next(**faults[name], at="revoke", times=2)
            system = journey.system
            report = await system.disconnector.disconnect(OWNER, "canary", "default")
            journey.watch.objects(report=report)
            assert report.deleted, name
            journey.server.heal()
        journey.end()

    async def test_in_the_callback_itself(self, journey):
        # The front channel: whatever stands there the browser has already, and our page does not repeat it.
        watch, server = journey.watch, journey.server
        pocket = journey.pocket(length)
        for field in ("error", "error_description", "error_uri", "iss", "unknown"):
            (prompt,) = await pocket.initialize_tool_auth()
            callback = over_http(server.deny(prompt.url), journey.ports)
            token = secrets.token_urlsafe(32)
            watch.secret(token)
            page = await asyncio.to_thread(watch.get, f"{callback.partition('&iss')[0]}&{field}={token}")
            assert 400 <= page.status < 500
            with suppress(ValetkeyError):
                pocket.auth.delete_session(AuthProvider("canary"))
        journey.end()
