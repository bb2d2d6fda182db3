"""What we issue: one answer for what is not good, kept as hashes only, ended everywhere, never wider than before."""

import asyncio
import contextlib
import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.identity.ours_kit import ANN, ROOT_TOKEN, SHARED, Database, Instance, ann
from tests.identity.test_signing import minted
from valetkey.errors import (
    CouldNotTell,
    Denied,
    InvalidArguments,
    InvalidSetting,
    KeyUnavailable,
    NotFound,
    StoreUnavailable,
    Unauthenticated,
)
from valetkey.identity.narrowing import restricted
from valetkey.identity.revocation import NOT_GOOD
from valetkey.identity.verifiers.ours import Ours
from valetkey.model.audit import Action
from valetkey.model.caller import Caller, Owner
from valetkey.model.stops import StopKind
from valetkey.model.tokens import Token, TokenKind
from valetkey.model.users import ScopeInfo, TokenConfig, UserInfo, UserPermission, includes
from valetkey.protocol import apikey
from valetkey.protocol.apikey import ApiKey, Prefix
from valetkey.protocol.jwt import fingerprint
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock

BOB = Owner(workspace="ws-user-bob", issuer="valetkey", subject="bob")
OPAQUE = [TokenKind.API_KEY, TokenKind.SESSION, TokenKind.TICKET, TokenKind.RECONNECTION]


@pytest.fixture
def instance() -> Instance:
    return Instance()


def bob() -> UserInfo:
    return UserInfo(id="bob", roles=[], scope=ScopeInfo(workspaces={"ws-user-bob": UserPermission.admin}))


async def key(instance: Instance, user: UserInfo | None = None, owner: Owner = ANN, **more) -> tuple[Secret, Token]:
    return await instance.tokens.issue(TokenKind.API_KEY, user or ann(), owner, **more)


async def whose(instance: Instance, kind: TokenKind = TokenKind.ACCESS, **more) -> Caller:
    """A caller with a token of that kind."""
    secret, _ = await instance.tokens.issue(kind, ann(), ANN, **more)
    return await (instance.session(secret) if kind is TokenKind.SESSION else instance.bearer(secret))


async def user_of(instance: Instance, text: Secret) -> UserInfo:
    user = (await instance.bearer(text)).user
    assert user is not None
    return user


async def refused(instance: Instance, text: Secret | str) -> str:
    with pytest.raises(Unauthenticated) as told:
        await instance.bearer(text)
    return told.value.message


# What is kept


@pytest.mark.requirement("seed004.bp-storage", "A-01")
@pytest.mark.parametrize("kind", OPAQUE)
async def test_of_a_secret_only_its_keyed_hash_is_kept(instance, kind):
    secret, token = await instance.tokens.issue(kind, ann(), ANN)
    random = apikey.read(secret.reveal())
    assert random is not None
    row = repr([dataclasses.asdict(each) for each in await instance.database.tokens.page()])
    assert random.secret not in row
    assert secret.reveal() not in row
    assert len(token.digest) == 64
    assert token.key_id == "k1"


async def test_the_hash_is_worth_nothing_under_another_vault_key(instance):
    secret, _ = await key(instance)
    other = Instance(clock=instance.clock, database=instance.database)
    other.database.keys.ids[:] = ["k9"]
    with pytest.raises(CouldNotTell):
        await other.bearer(secret)


async def test_ids_have_16_random_bytes_and_are_never_an_option_of_a_command(instance):
    ids = [(await key(instance))[1].id for _ in range(150)]
    assert len(set(ids)) == 150
    assert {len(each) for each in ids} == {22}
    assert not any(each.startswith("-") for each in ids)


async def test_who_presents_it_is_known_by_it(instance):
    secret, token = await key(instance, name="ci")
    caller = await instance.bearer(secret)
    assert (caller.owner, caller.how, caller.token) == (ANN, "api_key", token.id)
    assert caller.user is not None
    assert (caller.user.id, caller.user.email) == ("ann", "ann@example.org")
    assert caller.user.check_permission("ws-user-ann", UserPermission.admin)
    assert caller.user._principal == ("valetkey", "ann")


@pytest.mark.parametrize("name", ["x" * 101, "two\nlines", "\x1b[31m"])
async def test_a_name_is_one_short_line(instance, name):
    with pytest.raises(InvalidArguments):
        await key(instance, name=name)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
async def test_a_token_lives_for_more_than_nothing(instance, seconds):
    with pytest.raises(InvalidArguments):
        await key(instance, expires_in=seconds)


@pytest.mark.requirement("seed004.bp-expiration")
async def test_an_access_token_lives_an_hour_and_at_most_as_long_as_the_settings_say(instance):
    now = instance.clock.now()
    ends = [
        (await instance.tokens.issue(TokenKind.ACCESS, ann(), ANN, expires_in=each))[1].expires_at
        for each in (None, 60, 10**400)
    ]
    assert ends == [now + 3600, now + 60, now + 31 * 86_400]
    assert (await key(instance))[1].expires_at is None


async def test_what_cannot_be_recorded_is_not_issued(instance):
    instance.audit.broken = True
    with pytest.raises(StoreUnavailable):
        await key(instance)
    assert await instance.tokens.every() == []


# One answer for what is not good


@pytest.mark.requirement("A-03")
async def test_wrong_revoked_expired_and_unknown_have_one_answer(instance):
    expired, _ = await key(instance, expires_in=20)
    revoked, row = await key(instance)
    for text in (revoked, expired):
        await instance.bearer(text)  # so that the verdict is remembered
    instance.clock.advance(20)
    await instance.tokens.end(row, by="ann")
    good, _ = await key(instance)
    parts = apikey.read(good.reveal())
    assert parts is not None
    wrong = apikey.write(dataclasses.replace(parts, secret="w" * 43))
    unknown = apikey.write(dataclasses.replace(parts, id="u" * 22))
    session, _ = await instance.tokens.issue(TokenKind.SESSION, ann(), ANN)
    disguised = apikey.write(dataclasses.replace(parts, prefix=Prefix.SESSION))
    texts = [revoked.reveal(), expired.reveal(), wrong, unknown, "vk_mistyped", session.reveal(), disguised]
    assert {await refused(instance, text) for text in texts} == {NOT_GOOD}
    assert (await instance.bearer(good)).owner == ANN


@pytest.mark.requirement("A-03")
async def test_wrong_revoked_expired_and_unknown_cost_the_same_questions(instance):
    revoked, row = await key(instance)
    await instance.tokens.end(row, by="ann")
    expired, _ = await key(instance, expires_in=1)
    instance.clock.advance(2)
    unknown = apikey.write(ApiKey(prefix=Prefix.KEY, id="u" * 22, secret="s" * 43))
    await instance.stops.fresh()
    asked = []
    for text in (revoked.reveal(), expired.reveal(), unknown):
        instance.store.asked.clear()
        await refused(instance, text)
        asked.append(list(instance.store.asked))
    assert asked == [["get"]] * 3


@pytest.mark.requirement("A-02")
async def test_a_mistyped_key_never_reaches_the_database(instance):
    secret, _ = await key(instance)
    text = secret.reveal()
    instance.store.asked.clear()
    for mistyped in (text[:-1], text[:-1] + ("0" if text[-1] != "0" else "1"), text + "x", "vk_", text.lower()):
        await refused(instance, mistyped)
    assert instance.store.asked == []


async def test_a_session_is_no_bearer_token_and_a_key_is_no_cookie(instance):
    session, _ = await instance.tokens.issue(TokenKind.SESSION, ann(), ANN)
    secret, _ = await key(instance)
    assert (await instance.session(session)).how == "session"
    await refused(instance, session)
    for text in (secret.reveal(), "", "anything", ROOT_TOKEN.reveal()):
        with pytest.raises(Unauthenticated):
            await instance.session(text)


# Use, rotation


@pytest.mark.requirement("A-08")
async def test_last_use_is_noted_at_most_once_a_minute(instance):
    secret, token = await key(instance)
    for _ in range(20):
        await instance.tokens.open(secret.reveal(), {TokenKind.API_KEY})
        instance.clock.advance(10)
    assert instance.store.asked.count("used") == 4  # at 0, 60, 120 and 180 s
    row = await instance.tokens.find(token.id)
    assert row is not None
    assert row.last_used_at == instance.clock.now() - 20


async def test_a_key_that_is_used_moves_to_the_newest_vault_key(instance):
    secret, token = await key(instance)
    idle, _ = await key(instance)
    instance.database.keys.add()
    instance.clock.advance(120)
    assert (await instance.bearer(secret)).owner == ANN
    row = await instance.tokens.find(token.id)
    assert row is not None
    assert (row.key_id, row.digest == token.digest) == ("k2", False)
    instance.clock.advance(120)
    assert (await instance.bearer(secret)).owner == ANN
    instance.database.keys.remove("k1")
    instance.keyring.reload()
    assert (await instance.bearer(secret)).owner == ANN
    with pytest.raises(CouldNotTell):
        await instance.bearer(idle)


async def test_a_database_that_takes_no_note_of_the_use_keeps_nobody_out(instance, monkeypatch):
    secret, _ = await key(instance)

    async def broken(*given, **named):
        raise StoreUnavailable("read-only")

    monkeypatch.setattr(instance.database.tokens, "used", broken)
    assert (await instance.bearer(secret)).owner == ANN


@pytest.mark.requirement("A-08")
async def test_two_keys_live_side_by_side_and_the_old_one_is_ended(instance):
    old, old_row = await key(instance, name="old")
    new, _ = await key(instance, name="new")
    caller = await instance.bearer(new)
    await instance.bearer(old)
    shown = {row.name: row.last_used_at for row in await instance.tokens.list(caller, kinds={TokenKind.API_KEY})}
    assert shown == {"old": instance.clock.now(), "new": instance.clock.now()}
    assert await instance.tokens.revoke(caller, old_row.id) == 1
    await refused(instance, old)
    assert (await instance.bearer(new)).owner == ANN


# Sessions


@pytest.mark.requirement("A-19", "C3.sessions")
async def test_a_session_ends_when_it_is_not_used_and_at_last_when_it_is(instance):
    idle, _ = await instance.tokens.issue(TokenKind.SESSION, ann(), ANN)
    used, row = await instance.tokens.issue(TokenKind.SESSION, ann(), ANN)
    for _ in range(2 * 24 * 14 - 1):
        instance.clock.advance(1800)
        assert (await instance.session(used)).token == row.id
    with pytest.raises(Unauthenticated):
        await instance.session(idle)
    instance.clock.advance(1800)
    with pytest.raises(Unauthenticated):
        await instance.session(used)


async def test_a_session_that_is_over_by_rest_is_not_listed(instance):
    await instance.tokens.issue(TokenKind.SESSION, ann(), ANN)
    caller = await whose(instance, expires_in=10 * 3600)
    assert {row.kind for row in await instance.tokens.list(caller)} == {TokenKind.SESSION, TokenKind.ACCESS}
    instance.clock.advance(9 * 3600)
    assert {row.kind for row in await instance.tokens.list(caller)} == {TokenKind.ACCESS}


@pytest.mark.requirement("W-19")
async def test_signing_out_ends_this_session_and_what_was_made_with_it(instance):
    first = await whose(instance, TokenKind.SESSION)
    second, _ = await instance.tokens.issue(TokenKind.SESSION, ann(), ANN)
    made, _ = await instance.tokens.child(first, TokenConfig())
    assert await instance.tokens.sign_out(first) == 2
    await refused(instance, made)
    assert (await instance.session(second)).owner == ANN
    assert [entry.what for entry in instance.audit.of(Action.SIGN_OUT)] == [first.token]


@pytest.mark.requirement("W-04")
async def test_signing_out_everywhere_ends_every_session_and_leaves_keys_and_other_people(instance):
    caller = await whose(instance, TokenKind.SESSION)
    elsewhere, _ = await instance.tokens.issue(TokenKind.SESSION, ann(), ANN)
    access, _ = await instance.tokens.issue(TokenKind.ACCESS, ann(), ANN)
    secret, _ = await key(instance)
    theirs, _ = await instance.tokens.issue(TokenKind.SESSION, bob(), BOB)
    assert await instance.tokens.sign_out(caller, everywhere=True) == 3
    with pytest.raises(Unauthenticated):
        await instance.session(elsewhere)
    await refused(instance, access)
    assert (await instance.bearer(secret)).owner == ANN
    assert (await instance.session(theirs)).owner == BOB


# Tickets, tokens of a host program's generator


@pytest.mark.requirement("C3.sessions", "W-04")
async def test_a_ticket_is_for_one_use_and_for_a_minute(instance):
    ticket, _ = await instance.tokens.issue(TokenKind.TICKET, ann(), ANN)
    late, _ = await instance.tokens.issue(TokenKind.TICKET, ann(), ANN)
    spent = await asyncio.gather(*(instance.tokens.spend(ticket.reveal()) for _ in range(5)), return_exceptions=True)
    assert [type(each) for each in spent].count(Unauthenticated) == 4
    instance.clock.advance(60)
    for text in (ticket.reveal(), late.reveal(), "vkt_x", "opaque", (await key(instance))[0].reveal()):
        with pytest.raises(Unauthenticated):
            await instance.tokens.spend(text)


async def test_what_a_host_program_made_is_listed_and_stopped_by_its_hash(instance):
    caller = await whose(instance)
    text = "custom_1234"
    token = await instance.tokens.note_custom(text, ann(), ANN, expires_in=600, name="theirs")
    again = await instance.tokens.note_custom(text, ann(), ANN, expires_in=600)
    assert again.id == token.id
    assert [row.name for row in await instance.tokens.list(caller, kinds={TokenKind.CUSTOM})] == ["theirs"]
    assert text not in repr(await instance.database.tokens.page())
    assert await instance.tokens.revoke_text(caller, text) == 1
    assert instance.stops.why(StopKind.TOKEN, token.id) is not None


# Ended everywhere


@pytest.mark.requirement("seed004.bp-balancing", "J-44", "A-08", "C3.revoke")
@pytest.mark.parametrize("kind", [TokenKind.ACCESS, TokenKind.API_KEY])
async def test_what_is_revoked_on_one_instance_is_refused_on_the_other_within_five_seconds(kind):
    clock = ManualClock()
    database = Database(clock)
    one, two = Instance(clock=clock, database=database), Instance(clock=clock, database=database)
    secret, token = await one.tokens.issue(kind, ann(), ANN)
    caller = await two.bearer(secret)
    assert await one.tokens.revoke(caller, token.id) == 1
    await refused(one, secret)
    for _ in range(5):
        clock.advance(1)
        with contextlib.suppress(Unauthenticated):
            await two.bearer(secret)
        await asyncio.sleep(0)  # a look at the database may be under way
    await refused(two, secret)


@pytest.mark.requirement("C3.revoke")
@pytest.mark.parametrize("by", ["id", "text"])
async def test_with_a_token_all_that_was_made_with_it_ends(instance, by):
    parent, row = await instance.tokens.issue(TokenKind.ACCESS, ann(), ANN)
    caller = await instance.bearer(parent)
    child, _ = await instance.tokens.child(caller, TokenConfig(permission="admin"))
    grandchild, _ = await instance.tokens.child(await instance.bearer(child), TokenConfig())
    count = await (
        instance.tokens.revoke(caller, row.id) if by == "id" else instance.tokens.revoke_text(caller, parent.reveal())
    )
    assert count == 3
    for text in (parent, child, grandchild):
        await refused(instance, text)
    with pytest.raises(Unauthenticated):
        await instance.tokens.child(caller, TokenConfig())  # a caller who was let in a moment ago


async def test_a_key_that_is_asked_for_with_an_ended_session_is_not_handed_out(instance):
    session = await whose(instance, TokenKind.SESSION)
    # Another instance ended it, and this one does not know yet.
    await instance.database.tokens.revoke(session.token, now=instance.clock.now(), by="ann", reason="signed out")
    with pytest.raises(Unauthenticated):
        await key(instance, by=session.token)
    assert await instance.tokens.every() == []


async def test_the_child_of_a_foreign_token_ends_with_it(instance):
    text = "their.signed.token"
    user = UserInfo(id="acme|7", roles=[], scope=ScopeInfo(workspaces={"ws-user-acme|7": UserPermission.admin}))
    owner = Owner(workspace="ws-user-acme|7", issuer="https://acme.example", subject="7")
    caller = _caller(owner, user, token=fingerprint(text), until=instance.clock.now() + 600)
    child, row = await instance.tokens.child(caller, TokenConfig())
    assert row.expires_at == instance.clock.now() + 600
    assert (await instance.bearer(child)).principal == ("https://acme.example", "7")
    assert await instance.tokens.revoke_text(caller, text) == 2
    await refused(instance, child)


async def test_a_foreign_text_is_stopped_until_it_ends_by_itself(instance):
    caller = await whose(instance)
    ends = int(instance.clock.now()) + 600
    text = minted(instance.clock, iss="https://acme.example", exp=ends)
    assert await instance.tokens.revoke_text(caller, text) == 1
    stops = await instance.database.stops.since(0)
    assert {stop.ends_at for stop in stops} == {ends + 30}  # verifiers let clocks differ by as much
    assert all(text not in stop.target for stop in stops)


async def test_a_token_that_another_program_signed_is_stopped_by_its_text():
    instance = Instance(secret=SHARED)
    text = minted(instance.clock)
    caller = await instance.bearer(text)
    assert await instance.tokens.revoke_text(caller, text) == 1
    await refused(instance, text)
    other = minted(instance.clock, sub="user-2", jti="their-id")
    assert await instance.tokens.revoke_text(await instance.bearer(other), other) == 1
    await refused(instance, other)


async def test_a_forged_text_ends_nobodys_token(instance):
    secret, token = await key(instance)
    caller = await whose(instance)
    parts = apikey.read(secret.reveal())
    assert parts is not None
    with pytest.raises(Unauthenticated):
        await instance.tokens.revoke_text(caller, apikey.write(dataclasses.replace(parts, secret="f" * 43)))
    access, row = await instance.tokens.issue(TokenKind.ACCESS, bob(), BOB)
    head, body, _ = access.reveal().split(".")
    await instance.tokens.revoke_text(caller, f"{head}.{body}.{'A' * 86}")
    assert {each.id for each in await instance.tokens.every()} >= {token.id, row.id}


@pytest.mark.parametrize("text", ["", "x" * 20_000])
async def test_what_can_be_no_token_is_not_revoked(instance, text):
    with pytest.raises(InvalidArguments):
        await instance.tokens.revoke_text(await whose(instance), text)


async def test_to_revoke_by_text_takes_an_admin_or_the_token_itself(instance):
    reader = ann(scope=ScopeInfo(current_workspace="ws-a", workspaces={"ws-a": UserPermission.read}))
    narrow, row = await key(instance, reader)
    other, _ = await key(instance)
    caller = await instance.bearer(narrow)
    with pytest.raises(Denied, match="Only admin can revoke token"):
        await instance.tokens.revoke_text(caller, other.reveal())
    assert await instance.tokens.revoke_text(caller, narrow.reveal()) == 1
    assert row.id not in {each.id for each in await instance.tokens.every()}


# Whose


@pytest.mark.requirement("A-07", "A-14")
async def test_a_key_of_one_user_is_none_for_another(instance):
    _, mine = await key(instance)
    theirs, _ = await key(instance, bob(), BOB)
    caller = await instance.bearer(theirs)
    for missing in (mine.id, "x" * 22, ""):
        with pytest.raises(NotFound) as told:
            await instance.tokens.revoke(caller, missing)
        assert told.value.message == "There is no token of that id among yours."
    assert mine.id not in {row.id for row in await instance.tokens.list(caller)}


@pytest.mark.requirement("d21.principal")
async def test_the_same_subject_of_another_issuer_is_another_user(instance):
    _, mine = await key(instance)
    other = Owner(workspace="ws-user-ann", issuer="https://acme.example", subject="ann")
    theirs, row = await key(instance, ann(), other)
    caller = await instance.bearer(theirs)
    assert [each.id for each in await instance.tokens.list(caller)] == [row.id]
    with pytest.raises(NotFound):
        await instance.tokens.revoke(caller, mine.id)


async def test_an_admin_may_end_anybodys(instance):
    _, row = await key(instance)
    admin = await instance.bearer(ROOT_TOKEN)
    assert await instance.tokens.revoke(admin, row.id) == 1
    assert [entry.user for entry in instance.audit.of(Action.TOKEN_REVOKE)] == ["root"]


async def test_a_programs_token_sees_and_ends_itself_and_its_children_only(instance):
    whole = await whose(instance, TokenKind.SESSION)
    secret, row = await instance.tokens.child(whole, TokenConfig(permission="admin"))
    program = await instance.bearer(secret)
    _, mine = await instance.tokens.child(program, TokenConfig())
    assert {each.id for each in await instance.tokens.list(program)} == {row.id, mine.id}
    with pytest.raises(NotFound):
        await instance.tokens.revoke(program, whole.token)
    assert await instance.tokens.revoke(program, mine.id) == 1
    assert {each.id for each in await instance.tokens.list(whole)} == {whole.token, row.id}


async def test_the_root_token_may_do_everything_and_another_text_nothing(instance):
    caller = await instance.bearer(ROOT_TOKEN)
    assert (caller.owner.subject, caller.user and caller.user.roles) == ("root", ["admin"])
    assert caller.user is not None
    assert caller.user.check_permission("ws-anything", UserPermission.admin)
    for text in (ROOT_TOKEN.reveal()[:-1], ROOT_TOKEN.reveal() + " ", ROOT_TOKEN.reveal().upper()):
        await refused(instance, text)
    with pytest.raises(InvalidSetting, match="32 characters"):
        Ours(instance.signer, instance.tokens, clock=instance.clock, root_token=Secret("short"))


@pytest.mark.requirement("C1.anonymous")
async def test_who_presents_nothing_may_read_in_nobodys_workspace(instance):
    caller = await instance.nobody()
    assert caller.owner == Owner(workspace="ws-anonymous", issuer="anonymous", subject="anonymouz-http")
    assert caller.user is not None
    assert (caller.user.id, caller.user.roles, caller.user.is_anonymous) == ("anonymouz-http", ["anonymous"], True)
    assert caller.user.scope is not None
    assert caller.user.scope.workspaces == {"ws-anonymous": UserPermission.read}
    with pytest.raises(Denied, match=r"^Only admin can generate token\.$"):
        await instance.tokens.child(caller, TokenConfig())


# Child tokens


def _caller(owner: Owner, user: UserInfo, *, token: str = "", until: float | None = None, how: str = "foreign"):
    return Caller(owner=owner, how=how, until=until, user=user, token=token)


@pytest.mark.requirement("C3.access")
async def test_a_child_has_what_the_contract_says(instance):
    caller = await whose(instance, expires_in=7200)
    secret, token = await instance.tokens.child(caller, TokenConfig(client_id="c1", extra_scopes=["files:read"]))
    child = await instance.bearer(secret)
    assert child.user is not None
    assert (child.user.parent, child.user.email, child.user.id != "ann") == ("ann", "ann@example.org", True)
    assert child.user.scope == ScopeInfo(
        current_workspace="ws-user-ann",
        workspaces={"ws-user-ann": UserPermission.read_write},
        client_id="c1",
        extra_scopes=["files:read"],
        self_given=["files:read"],
    )
    assert (child.owner, token.parent) == (ANN, caller.token)
    grandchild, _ = await instance.tokens.issue(TokenKind.ACCESS, child.user, child.owner)
    assert (await user_of(instance, grandchild)).parent == "ann"


@pytest.mark.requirement("C3.children")
async def test_a_child_ends_no_later_than_the_token_with_which_it_was_made(instance):
    caller = await whose(instance, expires_in=100)
    instance.clock.advance(40)
    _, token = await instance.tokens.child(caller, TokenConfig(expires_in=3600))
    assert token.expires_at == caller.until
    instance.clock.advance(60)
    with pytest.raises(Unauthenticated):
        await instance.tokens.child(caller, TokenConfig())


@pytest.mark.requirement("C3.children")
@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"workspace": "ws-other"}, "You do not have any permission for workspace: ws-other"),
        ({"workspace": "ws-read"}, "Only admin can generate token."),
        ({"email": "eve@example.org"}, "Only admin can set the email"),
    ],
)
async def test_a_child_that_would_be_wider_is_denied_in_the_words_of_the_contract(instance, config, text):
    scope = ScopeInfo(workspaces={"ws-user-ann": UserPermission.admin, "ws-read": UserPermission.read})
    secret, _ = await key(instance, ann(scope=scope))
    caller = await instance.bearer(secret)
    with pytest.raises(Denied, match=text):
        await instance.tokens.child(caller, TokenConfig(**config))


async def test_an_owner_may_make_a_token_for_a_workspace_that_is_in_no_scope(instance: Instance):
    caller = await whose(instance, TokenKind.SESSION)
    made = await instance.workspaces.create(caller, "lab-1")

    async def permission(user: UserInfo, name: str) -> UserPermission | None:
        return await instance.workspaces.permission(caller, name)

    _, token = await instance.tokens.child(caller, TokenConfig(workspace=made.id), permission_of=permission)
    assert token.owner.workspace == "lab-1"
    with pytest.raises(Denied):
        await instance.tokens.child(caller, TokenConfig(workspace="lab-2"), permission_of=permission)


@pytest.mark.requirement("C1.roles")
async def test_the_child_of_an_admin_is_no_admin(instance):
    root = await instance.bearer(ROOT_TOKEN)
    secret, _ = await instance.tokens.child(root, TokenConfig(workspace="ws-a", email="new@example.org"))
    child = await instance.bearer(secret)
    assert child.user is not None
    assert (child.user.roles, child.user.email) == (["admin"], "new@example.org")
    assert child.user.get_permission("ws-b") is None
    assert await instance.workspaces.permission(child, "ws-b") is None
    _, row = await key(instance, bob(), BOB)
    with pytest.raises(NotFound):
        await instance.tokens.revoke(child, row.id)


@pytest.mark.parametrize(
    "config",
    [
        {"extra_scopes": [scope]}
        for scope in ("ws:ws-b#a", "wid:ws-b", "cid:c2", "no-colon", "two words:x", "a:b c", "UP:x", ":x", "a:", "a:é")
    ]
    + [{"workspace": name} for name in ("*", "a b", "ws-user-ann#a ws", "a,b", "\n", "#")]
    + [
        {"client_id": "c d"},
        {"extra_scopes": [f"a:{number}" for number in range(65)]},
        {"extra_scopes": ["a:" + "x" * 300]},
    ],
    ids=str,
)
async def test_what_could_be_read_as_something_else_in_a_scope_is_refused(instance, config):
    root = await instance.bearer(ROOT_TOKEN)
    with pytest.raises(InvalidArguments):
        await instance.tokens.child(root, TokenConfig(**config))


NAMES = st.sampled_from(["ws-user-ann", "ws-a", "ws-b", "*"])
SCOPES = st.lists(st.sampled_from(["files:read", "files:write", "mail:send", "plain"]), max_size=3, unique=True)
PARENTS = st.builds(
    ScopeInfo,
    current_workspace=st.none() | st.sampled_from(["ws-user-ann", "ws-a"]),
    workspaces=st.dictionaries(NAMES, st.sampled_from(UserPermission), max_size=4),
    client_id=st.none() | st.sampled_from(["c1", "c2"]),
    extra_scopes=SCOPES,
)
CONFIGS = st.builds(
    TokenConfig,
    expires_in=st.sampled_from([1, 60, 3600, 10**9]),
    workspace=st.none() | NAMES,
    permission=st.sampled_from(["read", "read_write", "admin"]),
    extra_scopes=st.none() | SCOPES,
    client_id=st.none() | st.sampled_from(["", "c1", "c2"]),
    email=st.none() | st.sampled_from(["ann@example.org", "eve@example.org"]),
)


@pytest.mark.requirement("C3.children")
@settings(max_examples=300, deadline=None)
@given(scope=PARENTS, config=CONFIGS, roles=st.sampled_from([[], ["dev"], ["admin"]]), left=st.floats(0.5, 10**7))
def test_a_child_is_never_wider_than_its_parent(scope, config, roles, left):
    asyncio.run(_never_wider(scope, config, roles, left))


async def _never_wider(scope: ScopeInfo, config: TokenConfig, roles: list[str], left: float) -> None:
    instance = Instance()
    parent = ann(roles=roles, scope=scope)
    caller = _caller(ANN, parent, until=instance.clock.now() + left, how="access")
    try:
        secret, token = await instance.tokens.child(caller, config)
    except (Denied, InvalidArguments):
        return
    if token.expires_at is not None and token.expires_at <= instance.clock.now():
        return  # less than a second was left
    child = await instance.bearer(secret)
    assert child.user is not None
    assert child.user.scope is not None
    held = child.user.scope
    for name, permission in held.workspaces.items():
        assert includes(parent.get_permission(name), permission)
    assert "*" not in held.workspaces
    assert child.user.get_permission(child.user.get_workspace()) is None
    assert child.until is not None
    assert child.until <= instance.clock.now() + min(left, 31 * 86_400)
    assert child.user.roles == roles
    assert child.principal == caller.principal
    assert child.user.parent == "ann"
    if scope.client_id is not None:
        assert held.client_id == scope.client_id
    if scope.is_specialized():
        assert held.is_specialized()
        assert set(held.extra_scopes) <= set(scope.extra_scopes)
    if "admin" not in roles:
        assert child.user.email == "ann@example.org"


async def test_a_specialised_token_hands_on_its_own_purposes_only(instance):
    scope = ScopeInfo(workspaces={"ws-a": UserPermission.admin}, extra_scopes=["files:read", "mail:send"])
    caller = _caller(ANN, ann(scope=scope), until=instance.clock.now() + 60)
    for asked, expected in ((None, scope.extra_scopes), ([], scope.extra_scopes), (["files:read"], ["files:read"])):
        config = TokenConfig(workspace="ws-a", extra_scopes=asked)
        _, token = await instance.tokens.child(caller, config)
        assert token.user.scope is not None
        assert token.user.scope.extra_scopes == expected
    with pytest.raises(Denied, match="one purpose only"):
        await instance.tokens.child(caller, TokenConfig(workspace="ws-a", extra_scopes=["files:write"]))


async def test_a_token_for_one_client_makes_none_for_another(instance):
    scope = ScopeInfo(workspaces={"ws-a": UserPermission.admin}, client_id="c1")
    caller = _caller(ANN, ann(scope=scope), until=instance.clock.now() + 60)
    _, token = await instance.tokens.child(caller, TokenConfig(workspace="ws-a"))
    assert token.user.scope is not None
    assert token.user.scope.client_id == "c1"
    for other in ("c2", ""):
        with pytest.raises(Denied, match="one client only"):
            await instance.tokens.child(caller, TokenConfig(workspace="ws-a", client_id=other))


@pytest.mark.parametrize("narrow", [{"workspace": "ws-a"}, {"extra_scopes": ["files:read"]}])
async def test_a_narrowed_key_of_an_admin_is_no_admins(instance, narrow):
    whole = ann(roles=["admin"], scope=ScopeInfo(workspaces={"*": UserPermission.admin}))
    less: dict[str, Any] = {"workspace": None, "extra_scopes": [], **narrow}
    user = restricted(whole, permission=UserPermission.read_write, **less)
    secret, _ = await key(instance, user)
    caller = await instance.bearer(secret)
    assert await instance.workspaces.permission(caller, "ws-b") is None
    _, other = await key(instance, bob(), BOB)
    with pytest.raises(NotFound):
        await instance.tokens.revoke(caller, other.id)
    assert restricted(whole, workspace=None, permission=UserPermission.read, extra_scopes=[]) is whole


@pytest.mark.requirement("seed004.bp-audit")
async def test_every_issue_and_every_end_is_recorded_without_the_secret(instance):
    secret, token = await key(instance)
    await instance.tokens.revoke(await instance.bearer(secret), token.id)
    assert [(entry.what, entry.user) for entry in instance.audit.of(Action.TOKEN_ISSUE)] == [(token.id, "ann")]
    assert [(entry.what, entry.user) for entry in instance.audit.of(Action.TOKEN_REVOKE)] == [(token.id, "ann")]
    assert secret.reveal()[26:60] not in repr(instance.audit.entries)


async def test_a_scope_that_cannot_be_written_makes_no_token(instance):
    user = ann(scope=ScopeInfo(workspaces={"ws with a space": UserPermission.read}))
    with pytest.raises(InvalidArguments):
        await instance.tokens.issue(TokenKind.ACCESS, user, ANN)
    assert await instance.tokens.every() == []


async def test_without_a_vault_key_nothing_is_issued(instance):
    instance.database.keys.error = KeyUnavailable("gone")
    with pytest.raises(KeyUnavailable):
        await key(instance)
