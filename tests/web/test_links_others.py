"""Ways past the owner check that were tried: a Pocket from before, a fork, another kind of question."""

import asyncio
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from tests.web.links_kit import BASE, google, opened, user
from tests.web.people import people
from tests.web.test_links_approve import allowed, asked
from tests.web.test_links_claim import link_of
from tests.web.test_links_every_handler import package as ledger
from valetkey import (
    AuthProvider,
    Denied,
    Pocket,
    PocketAuth,
    UserInfo,
    confirm_link,
    function_tool,
    mount_valetkey,
)
from valetkey.errors import InvalidAnswer
from valetkey.interactions.service import identify
from valetkey.model.caller import ANONYMOUS
from valetkey.model.interactions import Phase
from valetkey.wiring import build

server = google
site = opened
package = ledger


def settings_in(folder):
    file = folder / "valetkey.toml"
    file.write_text('[auth.google]\nclient_id = "me"\nclient_secret = "x"\n', "utf-8")
    file.chmod(0o600)


@pytest.fixture(autouse=True)
def closed():
    yield
    build.use(None)


@pytest.fixture
def book(package):
    @function_tool(auth_provider=AuthProvider.LEDGER, scopes=["books:write"])
    def book(**kwargs):
        """Book."""

    return Pocket(tools=[book], auth=PocketAuth(handlers=[package.LedgerHandler]))


async def test_a_pocket_used_before_mount_valetkey_gives_our_page_and_not_the_providers_url():
    """Principle 3: no off switch where several people are served."""
    settings_in(Path())

    @function_tool(auth_provider=AuthProvider.GOOGLE, scopes=["calendar"])
    def look(**kwargs) -> str:
        """Look."""
        return "seen"

    pocket = Pocket([look])
    await pocket.ainvoke("look", {}, thread_id="warm-up")
    mount_valetkey(FastAPI(), public_base_url=BASE)
    told = await pocket.ainvoke("look", {}, thread_id="ann")
    assert f"{BASE}/connect/" in told, told


def test_a_forked_worker_gives_our_page_and_not_the_providers_url(tmp_path):
    """The app is made before the fork, as by gunicorn --preload."""
    settings_in(tmp_path)
    program = """
        import asyncio, os
        from fastapi import FastAPI
        from valetkey import AuthProvider, Pocket, function_tool, mount_valetkey

        @function_tool(auth_provider=AuthProvider.GOOGLE, scopes=["calendar"])
        def look(**kwargs) -> str:
            "Look."
            return "seen"

        mount_valetkey(FastAPI(), public_base_url="http://127.0.0.1:8000")
        pocket = Pocket([look])
        child = os.fork()
        if child == 0:
            print(asyncio.run(pocket.prepare_auth("look", thread_id="ann")), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        os._exit(0)
    """
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        cwd=tmp_path,
        env={**os.environ, "VALETKEY_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "http://127.0.0.1:8000/connect/" in told.stdout, told.stdout + told.stderr


async def test_a_handlers_own_router_cannot_answer_an_approval(site, book):
    """Anybody who has the link of a question opens the router's callback with its state, signed in nowhere."""
    assert book.system is not None
    url = await asked(site, amount=500)
    state = url.rpartition("/")[2]
    await site.browser().get(f"{BASE}/auth/ledger/callback?state={state}&code=c1")
    row = await site.system.interactions.get(identify(state))
    assert row.phase is Phase.OPEN


async def test_a_handlers_own_router_does_not_make_an_approval_fail_for_ever(site, book):
    assert book.system is not None
    ann = user("ann")
    url = await asked(site, who=ann, amount=500)
    await site.browser().get(f"{BASE}/auth/ledger/callback?state={url.rpartition('/')[2]}&code=c1")
    assert await allowed(site, ann, amount=500) is False


async def test_a_handlers_own_router_cannot_answer_a_login():
    """FutureStore has any interaction's state answered; check(profile=True) then gives what the router was sent."""
    from valetkey import FutureStore

    async with people() as place:
        key = (await place.identity.login.start())["key"]
        with pytest.raises(InvalidAnswer, match="link"):
            await asyncio.to_thread(FutureStore.resolve_future, key, {"token": "chosen by somebody"})
        assert await place.identity.login.check(key, timeout=0) is None


async def test_approvals_that_no_call_used_do_not_keep_a_person_from_being_asked_again(site):
    """A model calls again with other words, so a yes is often left over."""
    ann = site.browser(user("ann"))
    for amount in range(20):
        url = await asked(site, amount=amount)
        assert (await ann.submit(url, await ann.get(url), answer="yes")).status == 200
    site.system.clock.advance(3600)
    assert "/approve/" in await asked(site, amount=500)


async def test_a_link_of_nobody_is_confirmed_for_nobody(site):
    """All who present nothing share one owner: whoever confirmed it would connect an account for all of them."""
    nobody = UserInfo(id="anonymouz-http", roles=["anonymous"], is_anonymous=True)
    nobody._principal = (ANONYMOUS, "anonymouz-http")
    with pytest.raises(Denied, match="Nobody signed in"):
        await confirm_link(
            site.identity, Request({"type": "http", "headers": []}), Response(), await link_of(site), thread_id=nobody
        )
