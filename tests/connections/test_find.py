"""Which of a person's accounts a call uses: the one named; else `default`; else the one other that fits; else ask."""

import pytest

from tests.connections.system import ANN, BOB, allowed, held, made
from valetkey.errors import AmbiguousConnection, AuthRequired
from valetkey.model.connections import Cause, Health, Standing
from valetkey.model.interactions import InteractionKind
from valetkey.model.needs import Need
from valetkey.testing.clock import ManualClock

NEED = Need(provider="google", scopes=frozenset({"read"}))
CLIENT = {"auth.google.client_id": "me", "auth.google.client_secret": "a secret"}


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def system(clock):
    system = made(clock, **CLIENT)
    yield system
    system.close()


async def used(system, *, profile=None, need=NEED, owner=ANN) -> str:
    connected = await system.connector.connect(allowed(need, profile=profile, owner=owner))
    return str(connected.connections[0].profile)


async def test_the_profile_that_a_call_names_is_used(system):
    await held(system, "default")
    await held(system, "work")
    assert await used(system, profile="work") == "work"


async def test_a_profile_that_is_named_and_not_there_is_asked_for_though_another_would_fit(system):
    await held(system, "default")
    await held(system, "home")
    with pytest.raises(AuthRequired):
        await used(system, profile="work")
    (asked,) = await system.interactions.of_owner(ANN, InteractionKind.CONNECT)
    assert asked.about["profile"] == "work"


async def test_naming_default_means_only_that_one(system):
    await held(system, "work")
    with pytest.raises(AuthRequired):
        await used(system, profile="default")


@pytest.mark.requirement("B5.profiles")
async def test_default_goes_first_however_many_there_are(system):
    for profile in ("default", "home", "work"):
        await held(system, profile)
    assert await used(system) == "default"


async def test_default_is_found_by_one_point_read(system, monkeypatch):
    await held(system, "default")
    await held(system, "work")

    async def of_owner(*_args):
        raise AssertionError("the other accounts are looked at only where default does not fit")

    monkeypatch.setattr(system.stores.connections, "of_owner", of_owner)
    assert await used(system) == "default"


async def test_without_default_the_one_other_is_used(system):
    await held(system, "work")
    assert await used(system) == "work"


@pytest.mark.requirement("B5.several")
async def test_several_that_fit_are_listed_with_their_accounts_and_how_to_name_one(system):
    await held(system, "home", account="ann@home.example")
    await held(system, "work", account="ann@work.example")
    await held(system, "third")
    with pytest.raises(AmbiguousConnection) as raised:
        await used(system)
    text = str(raised.value)
    assert "Google" in text
    assert "home (ann@home.example), third, work (ann@work.example)" in text
    assert "profile='home'" in text
    assert "valetkey connections rename google:home default" in text
    assert (raised.value.provider, raised.value.profiles) == ("google", ("home", "third", "work"))


@pytest.mark.requirement("B5.several")
async def test_what_does_not_fit_is_no_choice(system, clock):
    await held(system, "work")
    await held(system, "narrow", scopes=("other",))
    await held(system, "ended", ends_in=10, refresh=None)
    dead = await held(system, "dead")
    standing = Standing(
        health=Health.NEEDS_REAUTH, cause=Cause.REFUSED, reason="over", fail_count=1, next_try_at=0, at=clock.now()
    )
    assert await system.stores.connections.note(dead.id, generation=dead.generation, standing=standing)
    clock.advance(11)
    assert await used(system) == "work"


@pytest.mark.requirement("B5.profiles")
async def test_a_default_that_lacks_a_scope_is_asked_to_have_it_and_no_other_stands_in(system):
    await held(system, "default", scopes=("other",))
    await held(system, "work")
    with pytest.raises(AuthRequired):
        await used(system)


async def test_a_default_that_ended_for_good_is_asked_for_again_and_no_other_stands_in(system):
    row = await held(system, "default")
    await held(system, "work")
    await system.refresher.reject(row, "The provider refused the credential (401).")
    with pytest.raises(AuthRequired):
        await used(system)
    assert await used(system, profile="work") == "work"


async def test_a_handler_that_the_need_names_is_part_of_fitting(system):
    github = Need(provider="github", handler="github-token")
    await held(system, "web", handler="github-oauth2")
    await held(system, "pasted", handler="github-token", ends_in=None, refresh=None)
    assert await used(system, need=github) == "pasted"


async def test_where_none_fits_the_link_is_for_default(system):
    await held(system, "narrow", scopes=("other",))
    with pytest.raises(AuthRequired):
        await used(system)
    (asked,) = await system.interactions.of_owner(ANN, InteractionKind.CONNECT)
    assert asked.about["profile"] == "default"


async def test_nobody_elses_accounts_are_looked_at(system):
    await held(system, "work", owner=BOB)
    with pytest.raises(AuthRequired):
        await used(system)


async def test_another_alternative_that_needs_no_choice_is_taken(system):
    await held(system, "home")
    await held(system, "work")
    await held(system, "default", handler="github-token", ends_in=None, refresh=None)
    either = ((NEED,), (Need(provider="github"),))
    connected = await system.connector.connect(allowed(alternatives=either))
    assert connected.connections[0].provider == "github"


async def test_a_choice_goes_before_a_link(system):
    await held(system, "home")
    await held(system, "work")
    with pytest.raises(AmbiguousConnection):
        await system.connector.connect(allowed(alternatives=((Need(provider="github"),), (NEED,))))


async def test_the_usual_account_is_told_without_refreshing_it(system, clock, monkeypatch):
    assert await system.connector.usual(ANN, NEED) is None
    await held(system, "work", ends_in=10)
    clock.advance(11)

    async def fresh(*_args, **_keywords):
        raise AssertionError("looking is not using")

    monkeypatch.setattr(system.refresher, "fresh", fresh)
    found = await system.connector.usual(ANN, NEED)
    assert found is not None
    assert found.profile == "work"


async def test_an_account_by_a_handler_that_is_not_here_is_no_choice(system, monkeypatch):
    await held(system, "web", handler="github-oauth2")
    await held(system, "pasted", handler="github-token", ends_in=None, refresh=None)
    find = system.handling.find

    def without(name, provider):
        return find("no-such-handler" if name == "github-oauth2" else name, provider)

    monkeypatch.setattr(system.handling, "find", without)
    assert await used(system, need=Need(provider="github", handler="github-token")) == "pasted"
