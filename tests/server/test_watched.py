"""What a server notes of those who present something bad, and when it has enough of them."""

import pytest

from tests.server.rooms import Served, serve
from valetkey.audit import AuditLog
from valetkey.model.audit import Action, Record

BAD = {"authorization": "Bearer vk_not_one_of_ours"}


async def noted(served: Served, action: Action) -> list[Record]:
    audit = served.identity.audit
    assert isinstance(audit, AuditLog)
    await audit.drain()
    return [each for each in await served.identity.system.stores.audit.latest(limit=500) if each.entry.action == action]


@pytest.mark.requirement("seed004.bp-audit")
async def test_a_bad_token_is_noted_with_where_it_came_from_and_in_which_request() -> None:
    async with serve() as served:
        answer = await served.ask(path="/assets/config.json", headers=BAD, peer="10.1.2.3")
        (record,) = await noted(served, Action.TOKEN_REFUSE)
    assert answer.status == 401
    assert (record.entry.address, record.entry.outcome) == ("10.1.2.3", "refused")
    assert record.entry.request == answer.header("x-request-id")


@pytest.mark.requirement("seed004.bp-monitoring", "d29.suspicious")
async def test_twenty_bad_tokens_of_one_address_are_suspicious_once() -> None:
    async with serve() as served:
        for _ in range(25):
            await served.ask(path="/assets/config.json", headers=BAD, peer="10.1.2.3")
        (record,) = await noted(served, Action.SUSPICIOUS)
    assert record.entry.address == "10.1.2.3"


@pytest.mark.requirement("seed004.bp-rate", "d29.bad-keys", "A-09")
async def test_too_many_bad_tokens_of_one_address_have_to_wait_and_good_ones_go_on() -> None:
    async with serve() as served:
        good = {"authorization": f"Bearer {await served.token()}"}
        for _ in range(100):
            await served.ask(path="/assets/config.json", headers=BAD, peer="10.1.2.3")
        late = await served.ask(path="/assets/config.json", headers=BAD, peer="10.1.2.3")
        assert (late.status, late.header("retry-after")) == (429, "60")
        assert (await served.ask(path="/assets/config.json", headers=good, peer="10.1.2.3")).status == 200
        assert (await served.ask(path="/assets/config.json", headers=BAD, peer="10.1.2.4")).status == 401
