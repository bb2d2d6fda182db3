"""Whose account it is, as providers tell it; and what a no ends."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.connections.devices import TOKENS, DeviceServer
from tests.connections.kit import world
from tests.oauth.fakes import Dice, Settings, Wire, answer, provider
from tests.web.links_kit import Site
from tests.web.test_device_pages import ANN, OURS, entered, page_of
from valetkey.connections.handlers.oauth2 import OAuth2Handler
from valetkey.connections.whose import Whose
from valetkey.model.connections import Credential, Grant, Subject
from valetkey.model.needs import Need
from valetkey.providers.base import Endpoint, Userinfo
from valetkey.secret import Secret
from valetkey.settings.pocket import Config
from valetkey.testing.clock import ManualClock
from valetkey.wiring import build


async def test_an_account_whose_sub_has_255_characters_can_be_connected():
    sub = "s" * 255  # OpenID Connect Core §2: at most 255 ASCII characters
    wire = Wire(answer({"sub": sub, "name": "Ada"}), answer({}), answer({}))
    named = provider()
    asked = Userinfo(url=Endpoint("https://as.test/userinfo", operator=True), account=("name",), subject="sub")
    entry = replace(named.handlers[0], userinfo=asked)
    named = replace(named, handlers=(entry,))
    made = OAuth2Handler(provider=named, entry=entry, world=world(Settings().clients, wire, Dice(), ManualClock()))
    subject = Subject(issuer="https://idp.test", subject=sub, audience=frozenset({"id-1"}))
    grant = Grant(credential=Credential(access_token=Secret("at-1"), subject=subject), scopes=None)
    assert (await Whose(wire).told(grant, made)).account == "Ada"


GOOGLE = """
[session]
session_type = "in_memory"
[auth.google]
client_id = "me"
client_secret = "the secret"
handler = "google-device"
device_url = "https://github.test/device/code"
token_url = "https://github.test/token"
revoke_url = "https://github.test/revoke"
"""


def configured():
    file = Path("valetkey.toml")
    file.write_text(GOOGLE, "utf-8")
    file.chmod(0o600)


@pytest.mark.requirement("G-08")
async def test_a_no_ends_the_sign_in_where_no_other_account_of_it_is_connected():
    server = DeviceServer(ManualClock())
    configured()
    system = build.build(
        Config.load(Path.cwd(), {}),
        folder=Path.cwd() / "home",
        environ={},
        clock=server.clock,
        fetcher=server,
        upkeep=False,
    )
    build.use(system)
    try:
        site = Site(system)
        interaction, _ = await system.connecting.again(OURS, Need(provider="google"), "default")
        link = system.connecting.url(interaction)
        ann = site.browser(ANN)
        await page_of(ann, link)
        await entered(site, server, TOKENS)
        row = await site.row(link)
        assert row.confirming
        where = f"/auth/google/confirm/{row.id}"
        shown = await ann.get(where)
        assert "the sign-in is ended at" in shown.text
        await ann.submit(where, shown, answer="no")
        assert TOKENS["refresh_token"] in server.revoked
    finally:
        await asyncio.to_thread(build.use, None)
