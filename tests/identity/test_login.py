"""The login service: started here, confirmed there, checked once; across instances and restarts."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.services.kit import Place, Stores
from valetkey.errors import (
    AuthExpired,
    AuthRefused,
    Denied,
    InvalidAnswer,
    InvalidArguments,
    RateLimited,
    StoreUnavailable,
)
from valetkey.model.interactions import InteractionKind, Phase
from valetkey.model.tokens import TokenKind
from valetkey.model.users import UserPermission

ADAS = "ws-user-local|ada"


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    made = Place()
    made.open()
    yield made
    made.end()


async def test_a_workspace_of_half_a_character_begins_no_login(place: Place):
    with pytest.raises(InvalidArguments):
        await place.login.start(workspace="\ud800")
    assert place.audit.of("login_start") == []


@pytest.mark.requirement("C5.woken")
async def test_started_on_one_instance_confirmed_on_another_checked_on_a_third():
    stores = Stores()
    one, two, three = (Place(stores) for _ in range(3))
    for each in (one, two, three):
        each.open()
    key = (await one.login.start(address="10.0.0.1", agent="curl"))["key"]
    waiting = asyncio.create_task(one.login.check(key))
    await stores.clock.sleepers(1)
    _, ada = await two.signed_in()
    await two.login.confirm(key, ada)
    stores.clock.advance(0.5)  # another process: no hint comes, the row is looked at
    token = await waiting
    assert (await three.identify(token)).principal == ("valetkey", "local|ada")
    for each in (one, two, three):
        with pytest.raises(InvalidAnswer, match="Invalid key, key does not exist"):
            await each.login.check(key, timeout=0)
        each.end()


@pytest.mark.requirement("C5.woken")
async def test_check_is_woken(place: Place):
    key = (await place.login.start())["key"]
    waiting = asyncio.create_task(place.login.check(key))
    await place.clock.sleepers(1)
    _, ada = await place.signed_in()
    await place.login.confirm(key, ada)
    assert await asyncio.wait_for(waiting, 5), "and the clock stood still"


@pytest.mark.requirement("C5.page")
async def test_a_code_has_letters_that_are_not_mistaken(place: Place):
    codes = {(await place.login.start())["code"] for _ in range(50)}
    assert len(codes) == 50
    for code in codes:
        assert code[4] == "-"
        assert set(code.replace("-", "")) <= set("BCDFGHJKLMNPQRSTVWXZ")


@pytest.mark.requirement("O-34", "d24.once", "C5.woken")
async def test_of_two_who_saw_the_same_answer_one_gets_the_token(place: Place):
    key = (await place.login.start())["key"]
    token = await place.access()
    await place.login.report(key, token)
    seen = [await place.login._row(key, "") for _ in range(2)]
    assert await place.login._hand_out(seen[0], profile=False) == token
    with pytest.raises(InvalidAnswer, match="Invalid key, key does not exist"):
        await place.login._hand_out(seen[1], profile=False)


@pytest.mark.requirement("seed004.generate-token")
async def test_a_generator_is_asked_for_no_longer_than_settings_say(place: Place):
    asked: list[int] = []

    def generate(user, seconds):
        asked.append(seconds)
        return "made"

    await place.plugin.register_auth_service(generate_token=generate)
    _, ada = await place.signed_in()
    key = (await place.login.start(expires_in=10**7))["key"]
    await place.login.confirm(key, ada)
    assert await place.login.check(key) == "made"
    assert asked == [86_400]


async def test_the_token_outlives_the_browser_that_confirmed_and_ends_when_its_person_signs_out_everywhere(
    place: Place,
):
    key = (await place.login.start())["key"]
    _, ada = await place.signed_in()
    await place.login.confirm(key, ada)
    token = await place.login.check(key)
    caller = await place.identify(token)
    row = await place.tokens.find(caller.token)
    assert row is not None
    assert (row.parent, row.kind, row.name) == ("", TokenKind.ACCESS, "login")
    await place.tokens.sign_out(ada)
    assert (await place.identify(token)).owner == ada.owner
    _, again = await place.signed_in()
    await place.tokens.sign_out(again, everywhere=True)
    with pytest.raises(Exception, match="revoked"):
        await place.identify(token)


@pytest.mark.parametrize(("wanted", "lives"), [(None, 3600), (60, 60), (10**7, 86_400)])
async def test_the_token_lives_as_asked_and_no_longer_than_settings_say(place: Place, wanted, lives):
    key = (await place.login.start(expires_in=wanted))["key"]
    _, ada = await place.signed_in()
    await place.login.confirm(key, ada)
    assert (await place.identify(await place.login.check(key))).until == pytest.approx(place.clock.now() + lives)


async def test_for_a_workspace_the_token_is_for_that_workspace_alone(place: Place):
    _, boss = await place.signed_in("boss", roles=("admin",))
    key = (await place.login.start(workspace="team-a"))["key"]
    await place.login.confirm(key, boss)
    caller = await place.identify(await place.login.check(key))
    assert caller.user is not None
    assert caller.user.scope is not None
    assert caller.user.scope.workspaces == {"team-a": UserPermission.admin}
    assert caller.owner.workspace == "team-a"
    assert await place.workspaces.permission(caller, "team-b") is None


@pytest.mark.parametrize("by", ["confirm", "report"])
async def test_nobody_is_given_a_workspace_in_which_they_may_not_read(place: Place, by):
    token = await place.access()
    _, ada = await place.signed_in()
    key = (await place.login.start(workspace="team-a"))["key"]
    answer = place.login.confirm(key, ada) if by == "confirm" else place.login.report(key, token, workspace="team-a")
    with pytest.raises(Denied, match="You do not have any permission for workspace: team-a"):
        await answer
    assert await place.login.check(key, timeout=0) is None


@pytest.mark.requirement("d24.report", "C5.functions")
async def test_report_completes_with_the_token_itself_or_one_made_of_it(place: Place):
    token = await place.access()
    key = (await place.login.start())["key"]
    await place.login.report(key, token, email="ada@example.com", name="Ada", user_id="1", email_verified=True)
    profile = await place.login.check(key, profile=True)
    assert profile == {
        "token": token,
        "workspace": None,
        "expires_in": None,
        "email": "ada@example.com",
        "email_verified": True,
        "name": "Ada",
        "nickname": None,
        "user_id": "1",
        "picture": None,
    }
    key = (await place.login.start())["key"]
    await place.login.report(key, token, workspace=ADAS, expires_in=50)
    made = await place.login.check(key)
    assert made != token
    child, parent = await place.identify(made), await place.identify(token)
    assert child.until == pytest.approx(place.clock.now() + 50)
    assert child.owner.workspace == ADAS
    await place.tokens.revoke(parent, parent.token)
    with pytest.raises(Exception, match="revoked"):
        await place.identify(made)


@pytest.mark.parametrize("known", [{"email": "no address"}, {"name": "n" * 65}, {"picture": "x"}, {"nickname": 5}])
async def test_what_is_told_of_the_user_is_checked_and_no_token_is_left_over(place: Place, known):
    token = await place.access()
    key = (await place.login.start())["key"]
    before = len(await place.tokens.list(await place.identify(token)))
    with pytest.raises(InvalidAnswer, match=next(iter(known))):
        await place.login.report(key, token, workspace=ADAS, **known)
    assert len(await place.tokens.list(await place.identify(token))) == before


@pytest.mark.requirement("O-35")
async def test_report_is_refused_twice_late_and_for_what_is_no_token(place: Place):
    token = await place.access()
    key = (await place.login.start())["key"]
    for bad in ("", 5, "unknown", None):
        with pytest.raises(InvalidAnswer, match="Invalid token provided to report_login"):
            await place.login.report(key, bad)  # type: ignore[arg-type]
    await place.login.report(key, token)
    for _ in range(2):
        with pytest.raises(InvalidAnswer, match="Invalid key, key does not exist or expired"):
            await place.login.report(key, token)
    late = (await place.login.start())["key"]
    place.clock.advance(181)
    with pytest.raises(InvalidAnswer, match="expired"):
        await place.login.report(late, token)


@pytest.mark.requirement("O-35")
async def test_two_who_answer_at_once_leave_one_token(place: Place):
    key = (await place.login.start())["key"]
    _, ada = await place.signed_in()
    results = await asyncio.gather(*(place.login.confirm(key, ada) for _ in range(4)), return_exceptions=True)
    assert [result is None for result in results].count(True) == 1
    tokens = await place.tokens.list(ada, kinds={TokenKind.ACCESS})
    assert len(tokens) == 1
    assert (await place.identify(await place.login.check(key))).token == tokens[0].id


@pytest.mark.parametrize("key", ["", "unknown", "k" * 500, 5, None, {"a": 1}, "\ud800"])
async def test_a_key_that_is_none_is_no_fault_of_ours(place: Place, key):
    for call in (
        place.login.check(key, timeout=0),
        place.login.report(key, "t"),
        place.login.asked(key),
    ):
        with pytest.raises(InvalidAnswer, match="Invalid key, key does not exist"):
            await call


async def test_the_key_of_another_kind_of_question_is_none(place: Place):
    async def begin(state):
        return {}

    row = await place.interactions.open(
        kind=InteractionKind.SIGN_IN,
        owner=(await place.signed_in())[1].owner,
        topic="first-admin",
        about={},
        begin=begin,
    )
    with pytest.raises(InvalidAnswer):
        await place.login.check(place.interactions.payload(row)["state"], timeout=0)


async def test_a_no_is_told(place: Place):
    key = (await place.login.start())["key"]
    _, ada = await place.signed_in()
    await place.login.refuse(key, ada)
    with pytest.raises(AuthRefused):
        await place.login.check(key)
    with pytest.raises(AuthExpired):
        await place.login.confirm(key, ada)
    assert [entry.outcome for entry in place.audit.of("login.confirm")] == ["refused"]


async def test_a_wait_ends_with_the_login(place: Place):
    key = (await place.login.start())["key"]
    waiting = asyncio.create_task(place.login.check(key))
    await place.clock.sleepers(1)
    place.clock.advance(181)
    with pytest.raises(TimeoutError) as caught:
        await waiting
    assert str(caught.value) == "Login timeout, waited for 180 seconds"


async def test_a_token_for_which_nobody_comes_is_given_to_nobody(place: Place):
    key = (await place.login.start())["key"]
    await place.login.report(key, await place.access())
    place.clock.advance(361)
    with pytest.raises(InvalidAnswer):
        await place.login.check(key, timeout=0)
    (row,) = await place.interactions._store.page()
    assert (row.phase, row.answer) == (Phase.EXPIRED, None)


@pytest.mark.requirement("O-34", "seed004.bp-storage")
async def test_a_row_keeps_no_token_once_it_was_handed_out(place: Place):
    key = (await place.login.start())["key"]
    token = await place.access()
    await place.login.report(key, token)
    (row,) = await place.interactions._store.page()
    assert row.answer is not None
    assert token.encode() not in bytes(row.answer)
    assert await place.login.check(key) == token
    (row,) = await place.interactions._store.page()
    assert (row.phase, row.answer) == (Phase.DONE, None)


async def test_without_a_record_nothing_is_handed_out(place: Place, monkeypatch):
    key = (await place.login.start())["key"]
    token = await place.access()
    await place.login.report(key, token)

    async def down(entry):
        raise StoreUnavailable("down")

    with monkeypatch.context() as patch:
        patch.setattr(place.audit, "note", down)
        with pytest.raises(StoreUnavailable):
            await place.login.check(key, timeout=0)
    assert await place.login.check(key, timeout=0) == token


@pytest.mark.parametrize("wrong", [{"expires_in": 0}, {"expires_in": "x"}, {"expires_in": True}, {"workspace": 5}])
async def test_a_start_that_cannot_be_is_refused(place: Place, wrong):
    with pytest.raises(InvalidArguments):
        await place.login.start(**wrong)


@pytest.mark.requirement("O-32")
async def test_starts_from_one_address_are_limited_and_others_go_on(place: Place):
    for _ in range(60):
        await place.login.start(address="10.0.0.1")
    with pytest.raises(RateLimited):
        await place.login.start(address="10.0.0.1")
    await place.login.start(address="10.0.0.2")
    assert len(await place.interactions._store.page(limit=1000)) == 61


async def test_each_step_is_recorded_without_key_or_token(place: Place):
    key = (await place.login.start(address="10.0.0.1"))["key"]
    _, ada = await place.signed_in()
    await place.login.confirm(key, ada, address="10.0.0.2")
    token = await place.login.check(key)
    steps = [entry for name in ("login.start", "login.confirm", "login.check") for entry in place.audit.of(name)]
    assert [(entry.outcome, entry.subject, entry.address) for entry in steps] == [
        ("ok", "", "10.0.0.1"),
        ("ok", "local|ada", "10.0.0.2"),
        ("ok", "", ""),
    ]
    assert key not in str(place.audit.entries)
    assert token not in str(place.audit.entries)
