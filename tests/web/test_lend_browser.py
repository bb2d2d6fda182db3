"""The question whether an account is lent to a service, in a real browser: it fits, it is whole, it is answered."""

from typing import Any

import pytest

from tests.real import browser as chromium
from tests.real import conftest as real
from tests.real.node import MODULES
from tests.web.links_kit import Site, google, opened
from tests.web.test_links_browser import browser, shot, sign_in, site
from tests.web.test_links_claim import ANN, BOB
from valetkey import ApprovalRequired
from valetkey.identity.chain import Chain
from valetkey.identity.verifiers.vouched import Vouched, named
from valetkey.model.calls import Presented
from valetkey.model.lendings import Account, Lending
from valetkey.policy.consents import Terms

__all__ = ["browser", "site"]

pytestmark = pytest.mark.browser
server = google
unserved = opened
node = real.node
NASTY = "<img src=x onerror=alert(1)>\u202egnp.exe" + "w" * 300


async def asked(served: Site, **about: Any) -> str:
    """Somebody's service asks for two accounts of hers; the link."""
    accounts = (Account(provider="google", scopes=("calendar",)), Account(provider="slack"))
    lending = Lending(service="ws-user-bob/sums", registrant=("valetkey", "local|bob"), accounts=accounts)
    terms = Terms(
        **{
            "title": "Sums of the month",
            "runs": "local|bob",
            "accounts": (
                ("Google", "ann@example.com", ("https://www.googleapis.com/auth/calendar",), ("openid", "email")),
                ("Slack", "", (), tuple(f"channels:{n}" for n in range(12))),
            ),
            "lifetime": 30 * 86_400.0,
            **about,
        }
    )
    caller = await Chain([Vouched()]).identify(Presented(scheme="host", value=named(ANN)))
    with pytest.raises(ApprovalRequired) as raised:
        await served.consents.ask(caller, lending, terms)
    return raised.value.url


@pytest.mark.requirement("E.lend-page", "W-11")
@pytest.mark.parametrize(("scheme", "width"), [("light", chromium.DESKTOP), ("dark", chromium.DESKTOP), ("light", 360)])
async def test_the_page_says_who_what_and_until_when(browser, node, site, scheme: chromium.Scheme, width: int):
    served, _ = site
    axe = (MODULES / "axe-core" / "axe.min.js").read_text("utf-8")
    link = await asked(served)
    async with chromium.opened(browser, width=width, scheme=scheme) as (tab, watch):
        await sign_in(served, site[1], tab, ANN)
        await tab.goto(link)
        assert await chromium.overflow(tab) == 0
        assert await chromium.found_by_axe(tab, axe) == []
        text = await tab.inner_text("body")
        for said in ("Sums of the month", "ws-user-bob/sums", "local|bob", "ann@example.com", "Google", "Slack"):
            assert said in text
        for said in ("https://www.googleapis.com/auth/calendar", "openid", "channels:11", "30 days", "10 minutes"):
            assert said in text
        await shot(tab, f"lend-{scheme}-{width}")
        await tab.get_by_role("button", name="Yes, lend it").click()
        assert "may use your account" in await tab.get_by_role("status").inner_text()
        assert watch.amiss == []
        await shot(tab, f"lent-{scheme}-{width}")
    ((owner, user_id, lending),) = served.kept
    assert (owner.subject, user_id, lending.service) == ("local|ann", "local|ann", "ws-user-bob/sums")


@pytest.mark.requirement("E.lend-page")
async def test_what_the_service_calls_itself_is_text_only_and_another_person_sees_nothing(browser, site):
    served, base = site
    link = await asked(served, title=NASTY, runs=NASTY, accounts=((NASTY, NASTY, (NASTY,), (NASTY,)),))
    async with chromium.opened(browser, width=360) as (tab, watch):
        await sign_in(served, base, tab, ANN)
        await tab.goto(link)
        assert await chromium.overflow(tab) == 0
        assert await tab.locator("img").count() == 0
        assert "\u202e" not in await tab.content()
        assert watch.amiss == []
    async with chromium.opened(browser) as (his, _):
        await sign_in(served, base, his, BOB)
        await his.goto(link)
        assert "sums" not in await his.inner_text("body")
    assert served.kept == []
