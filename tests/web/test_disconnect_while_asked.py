"""An account is disconnected while another one waits for its owner's yes."""

import asyncio

import pytest

from tests.connections.devices import DeviceServer, program
from tests.web.links_kit import Site
from tests.web.test_device_pages import ANN, OURS, asked, entered, page_of
from tests.web.test_device_pages import given as fetched
from valetkey.testing.clock import ManualClock
from valetkey.wiring import build


@pytest.mark.requirement("L-12")
async def test_disconnecting_ends_what_waits_for_a_yes_at_once():
    server = DeviceServer(ManualClock())
    system = program(server)
    build.use(system)
    try:
        site = Site(system)
        link = await asked(site)
        ann = site.browser(ANN)
        await page_of(ann, link)
        await entered(site, server, fetched())
        assert (await site.row(link)).confirming
        report = await system.disconnector.disconnect(OURS, "github", "default")
        assert report.deleted
        assert server.revoked != []
    finally:
        await asyncio.to_thread(build.use, None)
