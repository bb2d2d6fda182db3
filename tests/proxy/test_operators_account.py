"""The operator's own account, by client credentials or the like: only tools of the program, and settings, name it."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.proxy.kit import proxied, service_of
from valetkey.errors import ApprovalRequired, InvalidArguments, UnknownProvider
from valetkey.providers.base import DERIVED
from valetkey.services.registering import service_of as described

NAMES = [*(f"ledger-{ending}" for ending in DERIVED), "ledger-environment", "environment"]
MEMBER: Any = SimpleNamespace(
    workspace="ws-user-ada", client="worker", user={"id": "ada"}, principal=("valetkey", "ada")
)


def grants(site: Any) -> list[str]:
    return [each.form.get("grant_type", "") for each in site.oauth.requests if each.path == "/token"]


def registered(need: dict[str, Any]) -> Any:
    return described({"id": "sums", "config": {"visibility": "public", "needs": [need]}}, MEMBER)


async def test_no_service_and_no_caller_can_name_it():
    async with proxied() as site:
        bob, token = await site.who("bob"), await site.here.token("bob")
        async with site.here.http(token) as http:
            for name in NAMES:
                for key in ("handler", "auth_handler"):
                    with pytest.raises(InvalidArguments, match="nothing else"):
                        registered({"provider": "ledger", key: name})
                with pytest.raises(UnknownProvider):
                    await site.loans.lend(registered({"provider": name}), bob)
                assert (await http.get(f"/via/{name}/me")).status_code >= 400
        assert grants(site) == []
        assert site.api.seen == []


async def test_settings_may_and_then_the_caller_says_yes_to_that_account():
    async with proxied('handler = "ledger-client-credentials"') as site:
        strange, bob = service_of("ada"), await site.who("bob")
        with pytest.raises(ApprovalRequired) as asked:
            await site.loans.lend(strange, bob)
        jar = await site.browser("bob")
        async with jar:
            await site.say(jar, asked.value.url, "yes")
        for _ in range(2):
            loan = await site.loans.lend(strange, bob)
            answer = await site.via(loan.told["via"]["ledger"]["token"], "/me")
            assert answer.status_code == 200
        first, second = [each.headers["authorization"] for each in site.api.seen]
        assert first == second == f"Bearer {site.oauth.issued[-1]}"
        assert grants(site) == ["client_credentials"]
