"""Local accounts: what is kept, who signs in, and what ends when an account changes."""

import asyncio
import dataclasses

import pytest
from argon2 import PasswordHasher, Type

from tests.identity.ours_kit import ADDRESS, PASSWORD, Instance
from valetkey.errors import InvalidArguments, NotFound, RateLimited, Unauthenticated
from valetkey.identity import passwords
from valetkey.identity.passwords import Passwords
from valetkey.model.audit import Action
from valetkey.model.tokens import TokenKind
from valetkey.model.users import TokenConfig, UserPermission
from valetkey.secret import Secret

NEW = Secret("a new password that is long")
WRONG = Secret("not the right password")


@pytest.fixture
def instance() -> Instance:
    return Instance()


async def signs_in(instance: Instance, name: str = "ann", password: Secret = PASSWORD, address: str = ADDRESS) -> str:
    """What becomes of a sign-in, in a word."""
    try:
        await instance.local.sign_in(name, password, address=address, agent="a browser")
    except (Unauthenticated, RateLimited) as error:
        return f"{error.code}: {error.message}"
    return "ok"


@pytest.mark.requirement("seed004.identity", "seed004.password")
async def test_a_person_signs_in_and_the_session_knows_them(instance):
    account = await instance.accounts.add("Ann", PASSWORD, email="Ann@Example.org")
    secret, token = await instance.local.sign_in("ANN", PASSWORD, address=ADDRESS, agent="a browser")
    caller = await instance.session(secret)
    assert caller.user is not None
    assert (caller.user.id, caller.user.email, account.name) == ("local|ann", "ann@example.org", "ann")
    assert caller.principal == ("valetkey", "local|ann")
    assert caller.owner.workspace == "ws-user-local|ann"
    assert caller.user.check_permission("ws-user-local|ann", UserPermission.admin)
    assert caller.user.get_permission("ws-other") is None
    assert (token.kind, token.address, token.agent) == (TokenKind.SESSION, ADDRESS, "a browser")


@pytest.mark.requirement("C4.accounts")
async def test_a_password_is_kept_as_argon2id_with_what_owasp_advises(instance):
    account = await instance.accounts.add("ann", PASSWORD)
    other = await instance.accounts.add("bob", PASSWORD)
    # OWASP Password Storage Cheat Sheet: argon2id, at least 19 MiB, 2 passes, 1 lane.
    assert account.password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert account.password_hash != other.password_hash
    assert PASSWORD.reveal() not in repr(await instance.database.accounts.page())
    assert PasswordHasher(type=Type.ID).verify(account.password_hash, PASSWORD.reveal())


@pytest.mark.parametrize("length", [0, 11, 257])
async def test_a_password_has_12_to_256_characters(instance, length):
    with pytest.raises(InvalidArguments, match="12 to 256"):
        await instance.accounts.add("ann", Secret("x" * length))
    assert await instance.accounts.get("ann") is None


@pytest.mark.parametrize(
    "password", ["aaaaaaaaaaaa", "x" * 256, "пароль из слов", "🔑" * 12, "            ", "\ud800" * 12]
)
async def test_any_characters_make_a_password(instance, password):
    await instance.accounts.add("ann", Secret(password))
    assert await signs_in(instance, password=Secret(password)) == "ok"


async def test_a_password_is_the_same_on_every_keyboard(instance):
    await instance.accounts.add("ann", Secret("cafe\u0301 au lait, sil vous plait"))
    assert await signs_in(instance, password=Secret("caf\u00e9 au lait, sil vous plait")) == "ok"


@pytest.mark.parametrize("name", ["", "-ann", "a b", "a|b", "local|ann", "x" * 65, "ann\n\n.", "é", "../x", "\ud800"])
async def test_a_name_that_can_be_none_is_refused(instance, name):
    with pytest.raises(InvalidArguments):
        await instance.accounts.add(name, PASSWORD)


async def test_two_names_that_look_alike_are_one_account(instance):
    await instance.accounts.add("ANN", PASSWORD)
    for again in ("ann", "Ann", "\uff41nn", "ANN"):
        with pytest.raises(InvalidArguments, match="There is an account"):
            await instance.accounts.add(again, PASSWORD)


@pytest.mark.parametrize(
    ("field", "value"), [("email", "nowhere"), ("roles", ("two words",)), ("roles", ("anonymous",))]
)
async def test_what_can_be_no_address_or_role_is_refused(instance, field, value):
    with pytest.raises(InvalidArguments):
        await instance.accounts.add("ann", PASSWORD, **{field: value})


# One answer


@pytest.mark.requirement("C4.accounts")
async def test_nobody_is_told_which_of_name_and_password_was_wrong(instance):
    await instance.accounts.add("ann", PASSWORD)
    await instance.accounts.add("off", PASSWORD)
    await instance.accounts.disable("off")
    answers = {
        await signs_in(instance, "ann", WRONG),
        await signs_in(instance, "nobody", WRONG),
        await signs_in(instance, "off", PASSWORD),
        await signs_in(instance, "a name that can be none", WRONG),
        await signs_in(instance, "ann", Secret("short")),
        await signs_in(instance, "x" * 5000, WRONG),
    }
    assert answers == {"unauthenticated: Name or password is wrong."}


async def test_an_unknown_name_costs_one_hash_with_the_same_parameters(instance, monkeypatch):
    await instance.accounts.add("ann", PASSWORD)
    hashed = []
    verify = Passwords._verify

    def counted(self, stored, text):
        hashed.append(stored.split("$")[1:4])
        return verify(self, stored, text)

    monkeypatch.setattr(Passwords, "_verify", counted)
    await signs_in(instance, "ann", WRONG)
    await signs_in(instance, "nobody", WRONG)
    assert hashed == [["argon2id", "v=19", "m=19456,t=2,p=1"]] * 2


async def test_what_was_typed_as_a_name_is_kept_nowhere(instance):
    typed = "my-password-in-the-wrong-field"
    await signs_in(instance, typed, WRONG)
    assert typed not in repr(instance.audit.entries)
    assert typed not in repr(instance.database.counters._counts)


@pytest.mark.requirement("seed004.bp-audit")
async def test_every_sign_in_is_recorded_without_the_password(instance):
    await instance.accounts.add("ann", PASSWORD)
    await signs_in(instance, password=WRONG)
    await signs_in(instance)
    told = [(entry.outcome, entry.user, entry.address) for entry in instance.audit.of(Action.SIGN_IN)]
    assert told == [("failed", "local|ann", ADDRESS), ("ok", "local|ann", ADDRESS)]
    assert not any(secret.reveal() in repr(instance.audit.entries) for secret in (PASSWORD, WRONG))


# Throttled


@pytest.mark.requirement("seed004.bp-rate", "d29.sign-ins", "C4.accounts")
async def test_after_ten_failures_an_account_waits_and_the_window_ends(instance):
    await instance.accounts.add("ann", PASSWORD)
    for number in range(10):
        assert "Name or password" in await signs_in(instance, password=WRONG, address=f"192.0.2.{number}")
    # The right password, too; and no guess prolongs the wait.
    for _ in range(3):
        assert "rate_limited" in await signs_in(instance, address="198.51.100.1")
        instance.clock.advance(90)
    instance.clock.advance(31)
    assert await signs_in(instance) == "ok"
    assert [entry.outcome for entry in instance.audit.of(Action.SIGN_IN)][10:] == ["limited"] * 3 + ["ok"]


async def test_a_name_that_nobody_has_is_throttled_alike(instance):
    for _ in range(10):
        await signs_in(instance, "nobody", WRONG, address="")
    with pytest.raises(RateLimited) as told:
        await instance.local.sign_in("Nobody", WRONG, address="", agent="")
    assert told.value.retry_after == 300


@pytest.mark.requirement("seed004.bp-rate", "d29.sign-ins")
async def test_after_thirty_failures_an_address_waits_whatever_names_it_tries(instance, monkeypatch):
    monkeypatch.setattr(Passwords, "_verify", lambda self, stored, text: text == PASSWORD.reveal())
    await instance.accounts.add("ann", PASSWORD)
    for number in range(30):
        assert "Name or password" in await signs_in(instance, f"name{number}", WRONG)
    assert "rate_limited" in await signs_in(instance)
    assert await signs_in(instance, address="198.51.100.1") == "ok"


async def test_success_clears_no_count_and_counts_none(instance, monkeypatch):
    monkeypatch.setattr(Passwords, "_verify", lambda self, stored, text: text == PASSWORD.reveal())
    await instance.accounts.add("ann", PASSWORD)
    for _ in range(9):
        await signs_in(instance, password=WRONG)
    for _ in range(5):
        assert await signs_in(instance) == "ok"
    await signs_in(instance, password=WRONG)
    assert "rate_limited" in await signs_in(instance)


async def test_many_guesses_at_once_are_not_more_than_one_after_another(instance, monkeypatch):
    guesses = [Secret(f"guess number {number:>4}") for number in range(40)]
    await instance.accounts.add("ann", guesses[30])
    monkeypatch.setattr(Passwords, "_verify", lambda self, stored, text: text == guesses[30].reveal())
    answers = await asyncio.gather(*(signs_in(instance, password=guess, address="") for guess in guesses))
    assert "ok" not in answers


async def test_a_few_hashes_are_made_at_once_and_a_crowd_is_told_to_come_back(monkeypatch):
    monkeypatch.setattr(passwords, "WAITING", 5)
    crowd, busy, most = Passwords(), 0, 0

    async def slowly(work):
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0)
        busy -= 1
        return True

    monkeypatch.setattr(asyncio, "to_thread", slowly)
    told = await asyncio.gather(*(crowd.matches("x", PASSWORD) for _ in range(9)), return_exceptions=True)
    assert most == 2
    assert [type(each) for each in told].count(RateLimited) == 4
    assert await crowd.matches("x", PASSWORD)


# Changes


@pytest.mark.requirement("A-19")
@pytest.mark.parametrize("change", ["password", "roles", "disable"])
async def test_a_change_of_the_account_ends_its_sessions_and_tokens_everywhere(instance, change):
    other = Instance(clock=instance.clock, database=instance.database)
    secret, _ = await instance.signed_in()
    session = await other.session(secret)
    child, _ = await instance.tokens.child(session, TokenConfig())
    api_key, _ = await instance.tokens.issue(TokenKind.API_KEY, session.user, session.owner)
    bobs, _ = await instance.signed_in("bob")
    await {
        "password": lambda: instance.accounts.set_password("ann", NEW),
        "roles": lambda: instance.accounts.set_roles("ann", ["admin"]),
        "disable": lambda: instance.accounts.disable("ann"),
    }[change]()
    instance.clock.advance(5)
    for check in (other.session(secret), other.bearer(child), other.bearer(api_key)):
        with pytest.raises(Unauthenticated):
            await check
    assert (await other.session(bobs)).user.id == "local|bob"  # type: ignore[union-attr]
    expected = {"password": "unauthenticated: Name or password is wrong.", "roles": "ok"}
    assert await signs_in(instance) == expected.get(change, "unauthenticated: Name or password is wrong.")
    assert [entry.details["change"] for entry in instance.audit.of(Action.ACCOUNT_CHANGE)] == [change]


async def test_whoever_changes_the_password_may_stay_signed_in(instance):
    secret, token = await instance.signed_in()
    elsewhere, _ = await instance.signed_in()
    await instance.accounts.set_password("ann", NEW, keep=token.id)
    assert (await instance.session(secret)).token == token.id
    with pytest.raises(Unauthenticated):
        await instance.session(elsewhere)
    assert await signs_in(instance, password=NEW) == "ok"


async def test_a_disabled_account_is_let_in_again_and_has_to_sign_in(instance):
    secret, _ = await instance.signed_in()
    await instance.accounts.disable("ann")
    await instance.accounts.enable("ann")
    assert await signs_in(instance) == "ok"
    with pytest.raises(Unauthenticated):
        await instance.session(secret)


async def test_a_sign_in_that_is_overtaken_by_a_new_password_gives_no_session(instance, monkeypatch):
    await instance.accounts.add("ann", PASSWORD)
    issue = instance.tokens.issue

    async def late(*given, **named):
        await instance.accounts.set_password("ann", NEW)
        return await issue(*given, **named)

    monkeypatch.setattr(instance.tokens, "issue", late)
    assert "Name or password" in await signs_in(instance)
    assert await instance.tokens.every() == []


async def test_a_hash_with_old_parameters_is_made_anew_when_its_person_signs_in(instance):
    account = await instance.accounts.add("ann", PASSWORD)
    old = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD.reveal())
    await instance.database.accounts.save(
        dataclasses.replace(account, password_hash=old, version=2), version=account.version
    )
    assert await signs_in(instance, password=WRONG) != "ok"
    assert (await instance.accounts.get("ann")).password_hash == old
    secret, _ = await instance.signed_in()
    after = await instance.accounts.get("ann")
    assert after is not None
    assert after.password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert (await instance.session(secret)).user is not None
    assert await signs_in(instance) == "ok"


async def test_a_hash_that_cannot_be_read_lets_nobody_in(instance, caplog):
    account = await instance.accounts.add("ann", PASSWORD)
    damaged = dataclasses.replace(account, password_hash="damaged", version=2)
    await instance.database.accounts.save(damaged, version=1)
    assert "Name or password" in await signs_in(instance)
    assert "set-password" in caplog.text


async def test_what_is_not_there_cannot_be_changed(instance):
    for change in (
        instance.accounts.set_password("ann", NEW),
        instance.accounts.set_roles("ann", []),
        instance.accounts.disable("ann"),
        instance.accounts.enable("a name that can be none"),
    ):
        with pytest.raises(NotFound):
            await change


@pytest.mark.requirement("A-21")
async def test_there_is_no_account_until_one_is_made_that_can_sign_in(instance):
    assert not await instance.accounts.any()
    assert await signs_in(instance, "admin", Secret("admin")) != "ok"
    await instance.accounts.add("ann", PASSWORD)
    assert await instance.accounts.any()
    await instance.accounts.disable("ann")
    assert not await instance.accounts.any()
    assert [account.name for account in await instance.accounts.list()] == ["ann"]


@pytest.mark.requirement("C1.roles")
async def test_an_admin_may_do_everything_until_the_role_is_taken(instance):
    await instance.accounts.add("ann", PASSWORD, roles=["admin"])
    secret, _ = await instance.signed_in()
    assert await instance.workspaces.permission(await instance.session(secret), "ws-x") is UserPermission.admin
    await instance.accounts.set_roles("ann", [])
    secret, _ = await instance.signed_in()
    assert await instance.workspaces.permission(await instance.session(secret), "ws-x") is None
