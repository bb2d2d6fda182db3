"""Services by text: all words, the best first, and never one that the caller may not know of."""

from collections.abc import AsyncIterator

import pytest

from tests.services.office import Office
from valetkey.errors import Denied, InvalidArguments
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
        {"limit": 0},
        {"offset": -1},
        {"return_fields": "id"},
        {"order_by": 5},
        {"filters": 5},
    ):
        with pytest.raises(InvalidArguments):
            await office.manager.search_services(**wrong, who=ada.who)
