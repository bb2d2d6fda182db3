"""What a no, a silence and a disconnection end where an account waits for its owner's yes; and what they spare."""

import asyncio

import pytest

from tests.connections.devices import TOKENS, DeviceServer, program
from tests.web.links_kit import Site
from tests.web.test_device_pages import ANN, OURS, asked, entered, given, page_of
from valetkey.model.connections import Credential, Grant, Subject
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock
from valetkey.wiring import build


@pytest.fixture
async def server():
    return DeviceServer(ManualClock())


@pytest.fixture
async def site(server):
    system = program(server)
    build.use(system)
    yield Site(system)
    await asyncio.to_thread(build.use, None)


def sub(name):
    return Subject(issuer="https://github.com", subject=name, audience=frozenset({"me"}))


async def keep(site, account, subject, profile="default"):
    g = Grant(
        credential=Credential(access_token=Secret("at-" + profile), client_id="me", subject=subject),
        scopes=frozenset(),
        account=account,
    )
    await site.system.keeper.keep(
        g, site.system.handling.find("github-device"), OURS, profile=profile, asked=frozenset()
    )


async def test_the_same_name_is_no_proof_at_a_device_sign_in(site, server, monkeypatch):
    await keep(site, "Ada", None)
    handler = site.system.handling.find("github-device")
    grant = Grant(credential=Credential(access_token=Secret("at-eve")), scopes=frozenset(), account="Ada")
    assert await site.system.answering._confirming.question(grant, handler, OURS, "default") is not None


async def waiting(site, server, subject):
    link = await asked(site)
    ann = site.browser(ANN)
    await page_of(ann, link)
    await entered(site, server, given(subject))
    row = await site.row(link)
    assert row.confirming
    return ann, row, f"/auth/github/confirm/{row.id}"


async def test_a_no_spares_the_same_account_under_another_profile(site, server):
    handler = site.system.handling.find("github-device")
    handler.revocation_ends_all = True
    await keep(site, "alice", sub("alice"))
    await keep(site, "bob", sub("bob"), "work")
    ann, _row, where = await waiting(site, server, "bob")
    shown = await ann.get(where)
    await ann.submit(where, shown, answer="no")
    assert server.revoked == []
    server.clock.advance(1000)
    await site.system.revoker.catch_up()
    assert server.revoked == []


async def test_a_no_ends_one_known_to_be_another_account(site, server):
    site.system.handling.find("github-device").revocation_ends_all = True
    await keep(site, "alice", sub("alice"))
    ann, _row, where = await waiting(site, server, "bob")
    await ann.submit(where, await ann.get(where), answer="no")
    assert server.revoked


async def test_a_silence_ends_it_too_where_nothing_else_is_connected(site, server):
    site.system.handling.find("github-device").revocation_ends_all = True
    _ann, _row, _where = await waiting(site, server, "bob")
    server.clock.advance(1000)
    await site.system.revoker.catch_up()
    assert server.revoked


async def test_the_report_says_that_it_is_revoked(site, server):
    await waiting(site, server, "bob")
    report = await site.system.disconnector.disconnect(OURS, "github", "default")
    assert server.revoked
    assert (report.deleted, report.revoked) == (True, True)


async def test_the_report_says_that_it_is_queued(site, server, monkeypatch):
    from valetkey.errors import ProviderUnavailable

    await keep(site, "alice", sub("alice"))
    await waiting(site, server, "bob")
    handler = site.system.handling.find("github-device")
    real = handler.revoke

    async def revoke(credential):
        if credential.access_token.matches("at-default"):
            return await real(credential)
        raise ProviderUnavailable("503")

    monkeypatch.setattr(handler, "revoke", revoke)
    report = await site.system.disconnector.disconnect(OURS, "github", "default")
    assert (report.queued, report.revoked) == (True, False)
    assert report.reason


async def test_disconnecting_ends_the_spared_one_when_nothing_else_is_left(site, server):
    site.system.handling.find("github-device").revocation_ends_all = True
    await keep(site, "alice", None)
    site.system.answering._confirming._personal = lambda: True
    ann, _row, where = await waiting(site, server, "")
    page = (await ann.get(where)).text
    assert "the sign-in is ended at" not in page
    report = await site.system.disconnector.disconnect(OURS, "github", "default")
    assert TOKENS["refresh_token"] in server.revoked, server.revoked
    assert report.revoked
