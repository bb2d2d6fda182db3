"""In somebody's app: a handler of its own, its sign-in, and the confirming call, with everything as it is wired."""

import asyncio
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from fastapi import FastAPI, Request
from starlette.responses import RedirectResponse, Response

from tests.web.links_kit import BASE, Jar, settings
from tests.web.test_links_every_handler import package as ledger
from valetkey import AuthProvider, Denied, Pocket, PocketAuth, function_tool
from valetkey.entrypoints.fastapi import mount_valetkey
from valetkey.entrypoints.web.interaction import confirm_link
from valetkey.wiring import build

package = ledger
THREAD = "local|ann"  # whom the package's handler expects


@pytest.mark.requirement("L-01", "L-02")
async def test_an_app_confirms_a_link_for_its_user_and_nobody_else_finishes_it(package):
    settings('[auth.ledger]\nclient_id = "me"\nclient_secret = "ledger-secret"\n')

    @function_tool(auth_provider=AuthProvider.LEDGER, scopes=["books:write"])
    def book(**kwargs) -> str:
        """Book."""
        return "booked"

    app = FastAPI()
    mounted = mount_valetkey(app, public_base_url=BASE)
    pocket = Pocket(tools=[book], auth=PocketAuth(handlers=[package.LedgerHandler]))

    @app.get("/call")
    async def call() -> str:
        return await pocket.ainvoke("book", {}, thread_id=THREAD)

    @app.get("/mine")
    async def mine(request: Request, url: str, who: str) -> Response:
        response = RedirectResponse(url, 303)
        try:
            await confirm_link(mounted, request, response, url, thread_id=who)
        except Denied:
            return Response("not yours", status_code=403)
        return response

    try:
        async with app.router.lifespan_context(app):
            hers, his = Jar(app), Jar(app)
            link = (await hers.get("/call")).text.strip('"').rpartition(" ")[2]
            assert link.startswith(f"{BASE}/connect/")
            asked = f"/mine?url={quote(link, safe='')}&who="
            assert (await his.get(asked + "bob")).status == 403
            assert (await his.get(link)).status == 403
            assert (await hers.get(asked + quote(THREAD))).header("location") == link
            state = parse_qs(urlsplit(await hers.claim(link)).query)["state"][0]
            callback = f"/auth/ledger/callback?state={state}&code=c1"
            assert (await his.get(callback)).status == 403
            assert (await hers.get(callback)).text == '"success"'
            assert (await hers.get("/call")).text == '"booked"'
    finally:
        await asyncio.to_thread(build.use, None)
