"""The device grant against oidc-provider, whose pages a person goes through on another machine."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.connections.test_device_flow import until
from tests.real.oidc import Oidc
from tests.real.road import NAME
from tests.real.visitor import Page, Visitor, call
from valetkey import AuthProvider, AuthRefused, Pocket, function_tool
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.model.interactions import INVITATION
from valetkey.settings.pocket import Config
from valetkey.testing.clock import ManualClock
from valetkey.wiring import build

pytestmark = pytest.mark.node


class Machine:
    """A program on a machine without a browser."""

    def __init__(self, oidc: Oidc) -> None:
        self.oidc = oidc
        self.clock = ManualClock()

    def begin(self, client=Oidc.basic) -> Pocket:
        oidc, secret = self.oidc, "" if client.secret is None else f"client_secret = '{client.secret}'"
        Path("valetkey.toml").write_text(
            f"[auth.{NAME}]\nclient_id = '{client.id}'\n{secret}\nhandler = '{NAME}-device'\n", "utf-8"
        )
        Path("valetkey.toml").chmod(0o600)
        Path("valetkey_providers").mkdir(exist_ok=True)
        Path(f"valetkey_providers/{NAME}.toml").write_text(
            f"""
            title = "Mailroom"
            origins = ["{oidc.issuer}"]

            [handlers.{NAME}-oauth2]
            kind = "oauth2"
            default = true
            variables = {{ {NAME.upper()}_TOKEN = "access_token" }}

            [handlers.{NAME}-oauth2.oauth2]
            authorize = "{oidc.authorize_url}"
            token = "{oidc.token_url}"
            device = "{oidc.issuer}/device/auth"
            revoke = "{oidc.revoke_url}"
            client_auth = "{client.method}"
            refresh_scopes = ["openid", "offline_access"]
            """,
            "utf-8",
        )
        build.use(build.build(Config.load(Path.cwd(), {}), clock=self.clock))

        @function_tool(auth_provider=AuthProvider(NAME), scopes=["mail.read"])
        def whose_mail(**kwargs) -> str:
            """Tell whose mailbox it is."""
            token = kwargs["MAILROOM_TOKEN"]
            return call(oidc.whoami_url, headers={"authorization": f"Bearer {token}"}).text

        return Pocket(tools=[whose_mail])


@pytest.fixture
async def machine(oidc: Oidc) -> AsyncIterator[Machine]:
    yield Machine(oidc)
    await asyncio.to_thread(build.use, None)


def goes_through(url: str, code: str, answer: str) -> Page:
    """What a person does: confirms the code, signs in, and consents or does not."""
    visitor = Visitor()
    page = visitor.visit(url)
    assert page.answer is not None
    page = visitor.submit(page, user_code=code)
    if "user_code" in page.form.fields:
        page = visitor.submit(page, confirm="yes")
    page = visitor.submit(page, login="ada", answer="login")
    return visitor.submit(page, answer=answer)


@pytest.mark.requirement("G-03")
async def test_a_code_entered_elsewhere_connects_the_account_and_a_no_refuses_it(machine, oidc):
    oidc.reset()
    for client, answer in ((Oidc.public, "consent"), (Oidc.odd, "deny"), (Oidc.basic, "consent")):
        pocket = machine.begin(client)
        await asyncio.to_thread(_forget, pocket)
        (prompt,) = await pocket.initialize_tool_auth()
        assert prompt.removeprefix(INVITATION).strip() == prompt.url
        assert prompt.url.startswith(f"{oidc.issuer}/device?user_code=")
        waiting = asyncio.ensure_future(pocket.wait_tool_auth())
        await asyncio.to_thread(goes_through, prompt.url, prompt.user_code, answer)
        await until(machine.clock, waiting.done)
        if answer == "deny":
            with pytest.raises(AuthRefused, match="denied at Mailroom"):
                await waiting
            continue
        assert await waiting is True
        assert json.loads(await pocket.ainvoke("whose_mail", {}))["sub"] == "ada"
        machine.clock.advance(3601)
        assert json.loads(await pocket.ainvoke("whose_mail", {}))["sub"] == "ada"
        assert oidc.refreshes >= 1
        await asyncio.to_thread(build.use, None)


def _forget(pocket: Pocket) -> None:
    system = pocket.system
    system.home.block(lambda: system.disconnector.disconnect(owner_of("default"), NAME, "default"))
