"""R-08: an account is deleted while it is refreshed; whichever is first, nothing of it is left, here or there."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from tests.faults.place import VERIFIER
from tests.real.visitor import call
from tests.road.support import client_section
from valetkey.errors import RefreshFailed
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.model.connections import Connection, Credential, Grant
from valetkey.protocol.authorize import challenge_of
from valetkey.secret import Secret
from valetkey.settings.pocket import Config
from valetkey.testing.oauth_server import OAuthServer
from valetkey.wiring import build
from valetkey.wiring.system import System

REDIRECT_URI = "https://localhost/callback"
AT_ONCE = 10


@pytest.fixture(params=["family", "token"])
def server(request: pytest.FixtureRequest) -> Iterator[OAuthServer]:
    """One whose revocation ends the family, and one where each token has to be revoked by itself."""
    with OAuthServer(revocation=request.param) as server:
        yield server


@pytest.fixture
def system(server: OAuthServer, home: Path) -> Iterator[System]:
    settings = Path("valetkey.toml")
    settings.write_text(client_section("google", server), "utf-8")
    settings.chmod(0o600)
    made = build.build(Config.load(Path.cwd(), {}), folder=home, environ={})
    yield made
    made.close()


async def connected(system: System, server: OAuthServer, owner: str) -> Connection:
    """An account whose access token has ended."""
    asked = {
        "client_id": server.client.id,
        "response_type": "code",
        "redirect_uri": REDIRECT_URI,
        "state": "s",
        "scope": "mail",
        "code_challenge": challenge_of(VERIFIER),
        "code_challenge_method": "S256",
    }
    callback = server.approve(f"{server.authorize_url}?{urlencode(asked)}")
    code = dict(parse_qsl(urlsplit(callback).query))["code"]
    given = server._ledger.redeem(code, client=server.client.id, redirect_uri=REDIRECT_URI, verifier=VERIFIER)
    server.expire_access_tokens()
    assert given.refresh is not None
    credential = Credential(
        access_token=Secret(given.access.value),
        refresh_token=Secret(given.refresh.value),
        client_id=server.client.id,
    )
    grant = Grant(credential=credential, scopes=frozenset({"mail"}), expires_at=system.clock.now() - 10)
    handler = system.handling.find("google-oauth2", None)
    return await system.keeper.keep(grant, handler, owner_of(owner), profile="default", asked=frozenset({"mail"}))


def interleave(system: System, draws: random.Random) -> None:
    """Let a moment pass before and after each step that the two have: none, a turn of the loop, some milliseconds."""

    async def moment() -> None:
        for _ in range(draws.choice((0, 1, 1, 2, 5))):
            await asyncio.sleep(draws.choice((0, 0, 0.001, 0.003)))

    def around(target: Any, name: str) -> None:
        work = getattr(target, name)

        async def delayed(*args: Any, **kwargs: Any) -> Any:
            await moment()
            result = await work(*args, **kwargs)
            await moment()
            return result

        setattr(target, name, delayed)

    for name in ("get", "by_id", "lease", "save", "note", "release", "delete"):
        around(system.stores.connections, name)
    for name in ("add", "claim", "remove"):
        around(system.stores.revocations, name)
    around(system.fetcher, "fetch")


async def race(system: System, server: OAuthServer, owner: str, draws: random.Random) -> tuple[str, bool]:
    """Refresh and delete at once; how the refresh ended, and whether the account was deleted."""
    connection = await connected(system, server, owner)
    handler = system.handling.find("google-oauth2", None)

    async def renew() -> str:
        try:
            await system.refresher.fresh(connection, handler)
        except RefreshFailed as error:
            return "came too late" if "meanwhile" in str(error) else "was not needed"
        return "came first"

    async def forget() -> bool:
        await asyncio.sleep(draws.choice((0, 0.005, 0.02, 0.04, 0.06, 0.1)))
        report = await system.disconnector.disconnect(owner_of(owner), "google", "default")
        return report.deleted

    renewed, deleted = await asyncio.gather(renew(), forget())
    return renewed, deleted


@pytest.mark.requirement("B.shown-delete", "R-08")
@pytest.mark.parametrize("runs", [100, pytest.param(1000, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
async def test_of_a_deleted_account_nothing_is_left_whatever_a_refresh_did_meanwhile(system, server, runs):
    draws = random.Random(8)  # noqa: S311 - the same interleavings each time
    interleave(system, draws)
    seen = []
    for batch in range(0, runs, AT_ONCE):
        names = [f"owner-{number}" for number in range(batch, batch + AT_ONCE)]
        seen += await asyncio.gather(*(race(system, server, name, draws) for name in names))
    assert all(deleted for _, deleted in seen)
    assert {how for how, _ in seen} >= {"came first", "came too late"}

    await system.rotations.replay()
    await system.revoker.catch_up()
    assert list(await system.stores.connections.page()) == []
    assert list(await system.stores.revocations.page()) == []
    assert list(system.journal.entries()) == []
    now = system.clock.now()
    usable = [
        token.kind
        for token in server._ledger.tokens.values()
        if server._ledger.is_live(token) and token.used_at is None and (token.expires_at or now + 1) > now
    ]
    assert usable == []


@pytest.mark.requirement("B.shown-delete", "B1.deletion", "R-08")
@pytest.mark.node
@pytest.mark.parametrize("runs", [5, pytest.param(20, marks=pytest.mark.long)])
def test_one_process_deletes_what_another_refreshes(place, runs):
    oidc = place.oidc
    refreshing, deleting = place.worker(), place.worker()
    accounts = [place.account(f"owner-{number}") for number in range(runs)]
    oidc.hold(accounts[0].refresh_token, "after")  # of this one the refresh surely comes too late
    calls = [refreshing.begin("call", owner=account.owner) for account in accounts]
    oidc.wait_held(accounts[0].refresh_token)
    reports = [deleting.end(deleting.begin("disconnect", owner=account.owner)) for account in accounts]
    oidc.release(accounts[0].refresh_token)
    outcomes = [refreshing.end(call)[0] for call in calls]
    refreshing.do("idle")
    deleting.do("replay")
    deleting.do("catch_up")
    assert {report["deleted"] for report in reports} == {True}
    assert outcomes[0]["error"] == "AuthRequired"
    for account, outcome in zip(accounts, outcomes, strict=True):
        assert place.find(account.owner) is None
        assert not oidc.family_alive(account.refresh_token)
        for token in {account.access_token, outcome.get("token", account.access_token)}:
            assert call(oidc.whoami_url, headers={"authorization": f"Bearer {token}"}).status == 401
    assert place.run(place.system.stores.revocations.page()) == []
    assert list(place.system.journal.entries()) == []
