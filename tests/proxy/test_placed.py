"""A token that goes into the query or a header of the provider's own, through /via."""

from tests.proxy import kit
from tests.proxy.kit import proxied

SECRET = "ldg-canary-0123456789abcdefghij"


def placed(monkeypatch, text: str) -> None:
    monkeypatch.setattr(kit, "PROVIDER", kit.PROVIDER + "\n[handlers.ledger-oauth2.placement]\n" + text)


async def test_a_token_that_goes_into_the_query_goes_through_via(monkeypatch):
    placed(monkeypatch, 'query = "app_id"\n')
    async with proxied() as site:
        await site.account("bob", SECRET)
        got = await site.via(await site.ticket("bob"), "/v1/entries?page=2")
        assert got.status_code == 200, got.text
        assert site.api.seen[-1].target == f"/v1/entries?page=2&app_id={SECRET}"
        assert SECRET not in got.text
        assert SECRET not in str(got.headers)
        for query in ("app_id=mine", "APP_ID=mine", "a=1;app_id=mine", "app%5Fid=mine"):
            refused = await site.via(await site.ticket("bob"), f"/v1/entries?{query}")
            assert refused.status_code == 400, query


async def test_a_header_of_the_providers_own_is_the_credentials_alone(monkeypatch):
    placed(monkeypatch, 'header = "X-Figma-Place"\n')
    async with proxied() as site:
        await site.account("bob", SECRET)
        ticket = await site.ticket("bob")
        assert (await site.via(ticket, "/v1", headers={"x-figma-place": "mine"})).status_code == 400
        # Gateways for CGI and WSGI make both the same.
        assert (await site.via(ticket, "/v1", headers={"x_figma_place": "mine"})).status_code == 400
