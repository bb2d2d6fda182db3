"""Services by text: all words, the best first, and never one that the caller may not know of."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.services.office import Office
from valetkey.errors import Denied, InvalidArguments, RateLimited
from valetkey.model.services import Registered
from valetkey.services import finding, search, turns
from valetkey.services.relay import Link


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    made = Office()
    yield made
    made.end()


@pytest.fixture
async def ada(office: Office) -> Link:
    link = await office.join()
    await office.register(link, "image-tools", description="Cut pictures.", docs="Also finds cells in a volume.")
    await office.register(link, "cell-counter", description="Counts what is in a picture.", visibility="public")
    await office.register(link, "secret-cells", visibility="unlisted")
    await office.register(link, "plain", visibility="public", type="maths")
    return link


async def found(office: Office, link: Link, query: str | None, **more: object) -> list[str]:
    items = await office.manager.search_services(query, who=link.who, **more)  # type: ignore[arg-type]
    assert isinstance(items, list)
    return [each["id"].rpartition(":")[2] for each in items]


@pytest.mark.requirement("E2.search")
async def test_all_words_count_and_names_before_docs(office: Office, ada: Link):
    assert await found(office, ada, "cell") == ["cell-counter", "image-tools"]
    assert await found(office, ada, "CELL picture") == ["cell-counter", "image-tools"]
    assert await found(office, ada, "cells") == ["image-tools"]
    assert await found(office, ada, "maths") == ["plain"]
    assert await found(office, ada, "add numbers") == []
    assert await found(office, ada, "add", limit=2) == ["cell-counter", "image-tools"]
    assert await found(office, ada, "add", limit=2, offset=2) == ["plain"]
    assert await found(office, ada, None, order_by="type") == ["cell-counter", "image-tools", "plain"]
    assert await found(office, ada, None, filters={"type": "maths", "visibility": "public"}) == ["plain"]


@pytest.mark.requirement("E2.search")
async def test_nobody_finds_what_they_may_not_know_of(office: Office, ada: Link):
    eve = await office.join("c1", "eve")
    assert await found(office, eve, "cell") == ["cell-counter"]
    assert await found(office, eve, "image") == await found(office, eve, "secret") == []
    assert await found(office, ada, "secret") == []
    assert await found(office, ada, "secret", include_unlisted=True) == ["secret-cells"]
    assert await found(office, eve, "secret", include_unlisted=True) == []
    narrow = await office.join("c2", "ada", extra=("billing:read",))
    assert await found(office, narrow, "image") == []
    with pytest.raises(Denied):
        await found(office, narrow, "secret", include_unlisted=True)


async def test_a_service_that_is_registered_anew_is_read_anew(office: Office, ada: Link):
    assert await found(office, ada, "zebra") == []
    await office.register(ada, "plain", description="A zebra.")
    assert await found(office, ada, "zebra") == ["plain"]


async def test_an_answer_has_the_facts_and_the_page_that_were_asked_for(office: Office, ada: Link):
    page = await office.manager.search_services("cell", limit=1, pagination=True, return_fields=["name"], who=ada.who)
    assert page == {
        "items": [{"id": "ws-user-ada/c1:cell-counter", "name": "cell-counter"}],
        "total": 2,
        "offset": 0,
        "limit": 1,
    }
    for wrong in (
        {"query": [0.1, 0.2]},
        {"query": "x" * 1001},
        {"query": " ".join(f"a{number}" for number in range(search.MOST_WORDS + 1))},
        {"limit": 0},
        {"offset": -1},
        {"return_fields": "id"},
        {"order_by": 5},
        {"filters": 5},
    ):
        with pytest.raises(InvalidArguments):
            await office.manager.search_services(**wrong, who=ada.who)


LETTERS = "abcdefghijklmnopqrstuvwxyz"


def wordy(number: int) -> Registered:
    """A service of as many words as it may have."""
    words = " ".join(a + b + c for a in LETTERS for b in LETTERS for c in "xyz")
    return Registered(workspace="ws-user-eve", client=f"c{number}", id="s", docs=words[:8000], visibility="public")


class Counted(str):
    """A word that counts how often it is compared."""

    __slots__ = ()
    times = 0

    def __lt__(self, other: str) -> bool:
        Counted.times += 1
        return str.__lt__(self, other)

    def __gt__(self, other: str) -> bool:
        Counted.times += 1
        return str.__gt__(self, other)


async def turned(working: "asyncio.Future[Any]") -> int:
    """How often others may go on until that is done."""
    count = 0
    while not working.done():
        count += 1
        await asyncio.sleep(0)
    return count


@pytest.mark.requirement("W-07", "E2.search")
async def test_a_search_gives_way_by_what_it_has_to_do():
    services, index = [wordy(number) for number in range(40)], search.Index()
    assert await turned(asyncio.ensure_future(index.find(services, "aax", filters={}))) >= 40
    query = " ".join(a + b for a in "ab" for b in LETTERS[:16])
    assert len(query.split()) == search.MOST_WORDS
    again = asyncio.ensure_future(index.find(services * 10, query, filters={}))
    assert 10 <= await turned(again) <= 60, "they are not read again"
    assert len(again.result()) == 400


def test_a_beginning_is_looked_up_and_not_looked_for():
    words = search.Words({Counted(a + b + c): 1 for a in LETTERS for b in LETTERS for c in LETTERS})
    Counted.times = 0
    assert words.score([Counted("qq")]) == 1
    assert 0 < Counted.times <= 2 * 16
    assert words.score(["qqq"]) == 2
    assert words.score(["qqqq"]) is None


@pytest.mark.requirement("W-07", "E2.search")
async def test_heavy_questions_of_one_client_are_answered_one_by_one(
    office: Office, ada: Link, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(turns, "MOST_WAITING", 3)
    eve, go, most, there = await office.join("c1", "eve"), asyncio.Event(), 0, 0
    matching = finding.Finder.matching

    async def slow(self: finding.Finder, query: object, who: Any, **more: Any) -> Any:
        nonlocal most, there
        there += who.peer == eve.member.peer
        most = max(most, there)
        if who.peer == eve.member.peer:
            await go.wait()
        there -= who.peer == eve.member.peer
        return await matching(self, query, who, **more)

    monkeypatch.setattr(finding.Finder, "matching", slow)
    questions: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(ask(who=eve.who))
        for ask in (office.manager.search_services, office.manager.list_services) * 3
    ]
    for _ in range(5):
        await asyncio.sleep(0)
    refused = [each for each in questions if each.done()]
    assert [type(each.exception()) for each in refused] == [RateLimited, RateLimited]
    assert await found(office, ada, "plain") == ["plain"]
    go.set()
    await asyncio.gather(*questions, return_exceptions=True)
    assert (most, sum(each.exception() is None for each in questions)) == (1, 4)
    assert len(await office.manager.list_services({"workspace": "*"}, who=eve.who)) == 2


@pytest.mark.requirement("W-07")
async def test_an_answer_that_would_be_too_long_is_told_to_ask_for_less(
    office: Office, ada: Link, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(finding, "MOST_TOLD", 1000)
    for asked in (office.manager.list_services(who=ada.who), office.manager.search_services(None, who=ada.who)):
        with pytest.raises(InvalidArguments, match="Narrow the query"):
            await asked
    assert len(await office.manager.list_services({"service_id": "plain"}, who=ada.who)) == 1
    few = await office.manager.search_services(None, return_fields=["name"], who=ada.who)
    assert len(few) == 3
