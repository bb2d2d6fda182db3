"""The page against the chat itself: two people side by side, seed 003's own JavaScript, an account connected."""

import asyncio
import runpy
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import pytest_asyncio
from fastapi import Depends, FastAPI, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request

from tests.chat.browsing import Person, browser, somebody
from tests.chat.fake_chat import served
from tests.chat.live import Live, live
from tests.ports import free_port
from valetkey.testing.oauth_server import Client, OAuthServer
from valetkey.wiring import build
from valetkey.wiring.models import open_model

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

USERS = {"token-of-ada-5e1f": "Ada", "token-of-sam-77c0": "Sam"}
EXAMPLE = Path(__file__).parents[2] / "examples/fastAPI/app_auth.py"
SHOP = Client(id="corner-shop", secret="not-a-real-secret", title="The corner shop")
SEED_CLASS = (Path(__file__).parent / "seed_class.js").read_text("utf-8")
SCRIPT = """
window.AuthenticatedChat = AuthenticatedChat;
"""


def shop() -> FastAPI:
    app = FastAPI(generate_unique_id_function=lambda route: route.name)

    @app.get("/me")
    def get_me(shown: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> dict[str, str]:
        return {"name": USERS.get(shown.credentials, "nobody")}

    @app.get("/echo")
    def echo(shown: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())], request: Request) -> dict[str, str]:
        return {"page": "<img src=x onerror=alert(1)>", **dict(request.headers)}

    @app.post("/pay", openapi_extra={"x-requires-approval": True})
    def pay(amount: int) -> dict[str, int]:
        return {"paid": amount}

    @app.get("/seed", include_in_schema=False)
    def seed() -> Response:
        html = '<!doctype html><title>Seed</title><link rel="icon" href="data:,"><script src="seed.js"></script>'
        return Response(html, media_type="text/html")

    @app.get("/seed.js", include_in_schema=False)
    def seed_class() -> Response:
        return Response(SEED_CLASS + SCRIPT, media_type="text/javascript; charset=utf-8")

    return app


@pytest_asyncio.fixture(loop_scope="module")
async def chat() -> AsyncIterator[Live]:
    async with live(shop()) as running:
        running.plugin.chat.model = open_model(running.plugin.config.model_choice())
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Any]:
    async with browser() as opened:
        yield opened


async def answered(person: Person, count: int) -> None:
    await person.page.locator(".assistant > .when").nth(count - 1).wait_for()


@pytest.mark.requirement("seed003.sessions", "W-19.sockets")
async def test_two_people_side_by_side_see_nothing_of_each_other(chat, running):
    async with somebody(running) as ada, somebody(running) as sam:
        for person, token in zip((ada, sam), USERS, strict=True):
            await person.open(chat.url)
            await person.sign_in("bearer_token", token=token)
        await asyncio.gather(ada.ask("CALL get_me {}"), sam.ask("CALL get_me {}"))
        await asyncio.gather(answered(ada, 1), answered(sam, 1))
        for person, own, other in ((ada, "Ada", "Sam"), (sam, "Sam", "Ada")):
            await person.page.click("details.call summary")
            assert own in await person.page.inner_text("details.call")
            assert other not in await person.page.content()

        await ada.ask("CALL echo {}")
        await answered(ada, 2)
        await ada.page.locator("details.call summary").last.click()
        assert "<img src=x onerror=alert(1)>" in await ada.page.locator("details.call pre").last.inner_text()
        shown = await ada.page.content()
        assert not any(token in shown for token in USERS)

        await ada.page.reload()
        await ada.reads("The conversation is restored. Credentials are not kept")
        assert "CALL echo" in await ada.text()
        assert await ada.page.is_hidden("#log-out")
        await ada.page.click("#open-sign-in")
        await ada.sign_in("bearer_token", token=next(iter(USERS)))
        await ada.page.click("#log-out")
        await ada.reads("You are logged out.")
        await ada.page.goto(f"{chat.url}/seed")
        await ada.page.go_back()
        await ada.badge("Connected")
        assert "CALL" not in await ada.text()

        await sam.ask("CALL get_me {}")
        await answered(sam, 2)
        assert "Sam" in await sam.page.content()


@pytest.mark.requirement("d15.approval")
async def test_what_needs_approval_runs_once_the_person_says_yes(chat, running):
    async with somebody(running) as ada:
        await ada.open(chat.url)
        await ada.skip()
        await ada.ask('CALL pay {"amount": 5}')
        await ada.page.get_by_role("button", name="Refuse").click()
        await answered(ada, 1)
        assert await ada.page.locator("details.call .bad", has_text="failed").count() == 1
        await ada.ask('CALL pay {"amount": 7}')
        await ada.page.get_by_role("button", name="Approve").click()
        await answered(ada, 2)
        assert "paid" in (await ada.page.locator("details.call").last.text_content() or "")


@pytest.mark.requirement("d15.auth-required", "W-21")
async def test_a_call_that_needs_an_account_goes_on_by_itself_once_the_person_has_connected_it(running, monkeypatch):
    monkeypatch.setenv("BEDROCK_MODEL_ID", "offline")
    port = free_port()
    base = f"http://localhost:{port}"
    with OAuthServer([SHOP], title="Acme Mail", scopes={"mail.read": "Read your messages"}) as mail:
        make = runpy.run_path(str(EXAMPLE))["make_app"]
        app = make(base, mail_url=mail.url, client_id=SHOP.id, client_secret=SHOP.secret)
        async with served(app, port=port, lifespan="on"), somebody(running) as person:
            await person.page.goto(base)
            await person.skip()
            await person.ask("What are the 2 newest messages in my mailbox?")
            connect = person.page.get_by_role("link", name="Connect Acme Mail")
            await connect.wait_for()
            assert "from there you sign in at 127.0.0.1." in await person.text()
            async with person.page.context.expect_page() as opening:
                await connect.click()
            other = await opening.value
            assert "127.0.0.1" in await other.inner_text("article")
            for name in ("Continue", "Allow"):
                await other.get_by_role("button", name=name).click()
            await answered(person, 1)
            assert await person.page.inner_text(".connect .state") == "connected"
            assert "Your invoice for March" in await person.text()
            await person.page.click("details.call summary")
            assert "Acted with acme_mail" in await person.page.inner_text("details.call")
    await asyncio.to_thread(build.use, None)


@pytest.mark.requirement("seed003.client-sends", "seed003.javascript")
async def test_the_class_of_seed_003_signs_in_and_gets_an_answer(chat, running):
    async with somebody(running) as person:
        said: list[str] = []
        person.page.on("console", lambda line: said.append(line.text))
        await person.page.goto(f"{chat.url}/seed")
        async with person.page.expect_console_message(lambda _: len(said) == 3):
            await person.page.evaluate(
                """async url => {
                    const chat = new AuthenticatedChat(url);
                    await new Promise(done => chat.ws.addEventListener("open", done));
                    chat.authenticate("bearer_token", { token: "token-of-ada-5e1f" });
                }""",
                chat.url.replace("http", "ws") + "/bedrock-chat/ws",
            )
        assert said[0] == "Connected"
        assert said[1].endswith("Authenticated with bearer_token")
        assert len(said[2]) > 10
