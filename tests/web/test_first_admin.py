"""The first admin's link: once, for fifteen minutes, and only while nobody has an account."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.web.asgi import Answer
from tests.web.people import PASSWORD, People, people
from valetkey.entrypoints.web.first import first_admin_link
from valetkey.errors import InvalidAuthState
from valetkey.model.interactions import InteractionKind
from valetkey.testing.clock import ManualClock


@pytest.fixture
async def site() -> AsyncIterator[People]:
    async with people(clock=ManualClock()) as opened:
        yield opened


async def link(site: People) -> str:
    url = await first_admin_link(site.identity, base_url=site.base_url)
    assert url.startswith(f"{site.base_url}/first-admin/")
    return urlsplit(url).path


async def choose(jar: Any, path: str, name: str = "ann", password: str = PASSWORD, again: str | None = None) -> Answer:
    fields = {"name": name, "password": password, "again": password if again is None else again}
    sent: Answer = await jar.submit(path, await jar.get(path), **fields)
    return sent


@pytest.mark.requirement("d28.first-admin")
async def test_the_link_makes_an_admin_and_signs_them_in(site: People) -> None:
    jar = site.browser()
    answer = await choose(jar, await link(site))
    assert (answer.status, answer.header("location")) == (303, "/account")
    text = (await jar.get("/account")).text
    assert "local|ann" in text
    assert (await jar.get("/admin")).status == 200


@pytest.mark.requirement("d28.first-admin", "A-21")
async def test_the_link_works_once(site: People) -> None:
    path = await link(site)
    form = await site.browser().get(path)
    assert form.status == 200
    assert (await choose(site.browser(), path)).status == 303
    for answer in (await site.browser().get(path), await site.browser().get(path + "?again=1")):
        assert answer.status == 409
        assert "Somebody has an account here already" in answer.text
        assert "<form" not in answer.text
    with pytest.raises(InvalidAuthState):
        await link(site)


@pytest.mark.requirement("A-21")
async def test_of_two_who_send_the_form_at_once_one_is_the_admin(site: People) -> None:
    path = await link(site)
    jars: dict[str, Any] = {name: site.browser() for name in ("ann", "bob")}
    forms = {name: await jar.get(path) for name, jar in jars.items()}
    chosen = {"password": PASSWORD, "again": PASSWORD}
    answers = await asyncio.gather(*(jar.submit(path, forms[name], name=name, **chosen) for name, jar in jars.items()))
    assert sorted(answer.status for answer in answers) in ([303, 409], [303, 410])
    assert len(await site.identity.accounts.list()) == 1


@pytest.mark.requirement("d28.first-admin")
async def test_the_link_ends_after_fifteen_minutes(site: People) -> None:
    path = await link(site)
    jar = site.browser()
    form = await jar.get(path)
    site.clock.advance(899)
    assert (await jar.get(path)).status == 200
    site.clock.advance(1)
    assert (await jar.get(path)).status == 410
    sent = await jar.submit(path, form, name="ann", password=PASSWORD, again=PASSWORD)
    assert sent.status == 410
    assert not await site.identity.accounts.list()


async def test_what_was_mistyped_can_be_corrected_until_then(site: People) -> None:
    path = await link(site)
    jar = site.browser()
    for name, password, again, said in (
        ("ann", PASSWORD, PASSWORD + "x", "The two passwords differ"),
        ("ann", "short", "short", "12 to 256"),
        ("Ann Lee", PASSWORD, PASSWORD, "name of an account"),
        ('"><script>', PASSWORD, PASSWORD, "name of an account"),
    ):
        answer = await choose(jar, path, name, password, again)
        assert answer.status == 400
        assert said in answer.text
        assert "<script" not in answer.text
        assert password not in answer.text
        site.clock.advance(120)
    assert (await choose(jar, path)).status == 303


async def test_a_mistake_does_not_prolong_the_link(site: People) -> None:
    path = await link(site)
    assert (await choose(site.browser(), path, "Ann Lee")).status == 400
    site.clock.advance(899)
    assert (await site.browser().get(path)).status == 200
    site.clock.advance(1)
    assert (await site.browser().get(path)).status == 410


async def test_a_start_again_prints_the_same_link_and_a_late_one_a_new_one(site: People) -> None:
    first = await link(site)
    site.clock.advance(60)
    assert await link(site) == first
    site.clock.advance(600)
    second = await link(site)
    assert second != first
    assert (await site.browser().get(first)).status == 410
    assert (await choose(site.browser(), second)).status == 303


async def test_other_links_make_no_admin(site: People) -> None:
    """An unknown state, and the key of a program's login, which is an interaction of the same kind."""
    await link(site)
    asked = await site.identity.login.start()
    rows = await site.identity.system.stores.interactions.page()
    assert {row.kind for row in rows} == {InteractionKind.SIGN_IN}
    for state in ("x", "x" * 43, asked["key"]):
        answer = await site.browser().get(f"/first-admin/{state}")
        assert answer.status == 400
        assert "not known here" in answer.text


async def test_the_form_is_ours_alone(site: People) -> None:
    path = await link(site)
    fields = {"name": "ann", "password": PASSWORD, "again": PASSWORD}
    form = await site.browser().get(path)
    stranger: Any = site.browser()
    assert (await stranger.post(path, fields)).status == 403
    assert (await stranger.submit(path, form, **fields)).status == 403
    jar: Any = site.browser()
    cross = await jar.submit(path, await jar.get(path), headers={"sec_fetch_site": "cross-site"}, **fields)
    assert cross.status == 403
    assert not await site.identity.accounts.list()


async def test_a_first_admin_link_of_a_new_start_works_after_a_wrong_try_with_the_one_before():
    async with people(clock=ManualClock()) as place:
        link = await first_admin_link(place.identity, base_url=place.base_url)
        jar = place.browser()
        wrong = await jar.submit(link, await jar.get(link), name="ann", password="short", again="short")
        assert wrong.status == 400
        place.clock.advance(16 * 60)  # "Start the server again: it prints a new link."
        again = await first_admin_link(place.identity, base_url=place.base_url)
        assert (await place.browser().get(again)).status == 200
