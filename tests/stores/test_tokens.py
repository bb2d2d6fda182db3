"""Tokens in every store: made, found, revoked with all that was made with them, spent once, swept."""

from dataclasses import replace

import pytest

from tests.stores.values import ADA, BOB, NOW, a_token, a_user
from valetkey.adapters.sql.identity_rows import STOPPED_AFTER, STOPPED_FOR
from valetkey.adapters.sql.identity_statements import KINDS
from valetkey.model.stops import StopKind
from valetkey.model.tokens import TokenKind

TOLD = {"by": "ada", "reason": "signed out"}


async def family(identity):
    """A token, its child, that one's child, and a stranger."""
    top = a_token(expires_at=None)
    child = a_token(parent=top.id, owner=BOB, kind=TokenKind.ACCESS, digest="")
    grandchild = a_token(parent=child.id, kind=TokenKind.SESSION)
    stranger = a_token()
    for token in (top, child, grandchild, stranger):
        assert await identity.tokens.insert(token) is True
    return top, child, grandchild, stranger


async def revoked(identity, *tokens):
    return [(await identity.tokens.get(token.id)).revoked_at for token in tokens]


@pytest.mark.requirement("seed004.bp-database")
async def test_what_was_saved_is_found_by_id_and_by_hash(identity):
    token = a_token(last_used_at=NOW + 1, revoked_at=NOW + 2)
    jwts = [a_token(digest="", kind=TokenKind.ACCESS) for _ in range(2)]
    for each in (token, *jwts):
        assert await identity.tokens.insert(each) is True
    found = await identity.tokens.get(token.id)
    assert found == token
    assert found.user._principal == (ADA.issuer, ADA.subject)
    assert await identity.tokens.by_digest(token.digest) == token
    assert await identity.tokens.by_digest("") is None
    assert await identity.tokens.get("another") is None


async def test_an_id_and_a_hash_belong_to_one_token(identity):
    first = a_token()
    assert await identity.tokens.insert(first) is True
    assert await identity.tokens.insert(a_token(id=first.id)) is False
    second = a_token(digest=first.digest)
    assert await identity.tokens.insert(second) is False
    assert await identity.tokens.get(second.id) is None
    assert await identity.tokens.insert(a_token(parent=first.id, digest=first.digest)) is False


async def test_what_is_done_to_a_user_later_does_not_change_what_is_stored(identity):
    token = a_token(user=a_user())
    await identity.tokens.insert(token)
    token.user.roles.append("owner")
    found = await identity.tokens.get(token.id)
    found.user.scope.workspaces.clear()
    assert (await identity.tokens.get(token.id)).user.model_dump() == a_user().model_dump()


@pytest.mark.parametrize("what", ["missing", "revoked", "over", "over just now"])
async def test_no_child_is_made_with_a_token_that_is_not_good(identity, what):
    over = {"over": NOW - 1, "over just now": NOW}
    parent = a_token(revoked_at=NOW - 1 if what == "revoked" else None, expires_at=over.get(what))
    if what != "missing":
        await identity.tokens.insert(parent)
    child = a_token(parent=parent.id)
    assert await identity.tokens.insert(child) is False
    assert await identity.tokens.get(child.id) is None


async def test_the_tokens_of_a_principal_are_those_that_are_good_the_newest_first(identity):
    mine = [a_token(created_at=NOW + number, kind=kind) for number, kind in enumerate(TokenKind)]
    elsewhere = a_token(owner=replace(ADA, workspace="another"), created_at=NOW + 99)
    others = [a_token(owner=BOB), a_token(owner=replace(ADA, issuer="another"))]
    ended = [a_token(revoked_at=NOW - 9), a_token(expires_at=NOW), a_token(expires_at=NOW - 9)]
    for token in (*mine, elsewhere, *others, *ended):
        await identity.tokens.insert(token)
    assert list(await identity.tokens.of_principal(ADA.issuer, ADA.subject)) == [elsewhere, *reversed(mine)]


async def test_pages_go_through_all_of_them(identity):
    tokens = sorted([a_token(revoked_at=NOW - 1) for _ in range(5)], key=lambda token: token.id)
    for token in tokens:
        await identity.tokens.insert(token)
    first = await identity.tokens.page(limit=3)
    assert [*first, *await identity.tokens.page(after=first[-1].id, limit=3)] == tokens


async def test_revoking_ends_all_that_was_made_with_it_and_stops_each(identity):
    top, child, grandchild, stranger = await family(identity)
    before = await identity.stops.revision()
    assert await identity.tokens.revoke(top.id, now=NOW + 5, **TOLD) == 3
    assert await revoked(identity, top, child, grandchild, stranger) == [NOW + 5] * 3 + [None]
    stops = await identity.stops.since(before)
    assert {stop.target: stop.ends_at for stop in stops} == {
        top.id: NOW + 5 + STOPPED_FOR + STOPPED_AFTER,
        child.id: NOW + 3600.5 + STOPPED_AFTER,
        grandchild.id: NOW + 3600.5 + STOPPED_AFTER,
    }
    for stop in stops:
        told = (stop.kind, stop.by, stop.reason, stop.created_at, stop.lifted)
        assert told == (StopKind.TOKEN, "ada", "signed out", NOW + 5, False)
        assert before < stop.revision <= await identity.stops.revision()
    assert await identity.stops.active(now=NOW + 6) == []


async def test_revoking_in_the_middle_leaves_what_is_above_and_twice_is_once(identity):
    top, child, grandchild, _ = await family(identity)
    assert await identity.tokens.revoke(child.id, now=NOW + 5, **TOLD) == 2
    assert await revoked(identity, top, child, grandchild) == [None, NOW + 5, NOW + 5]
    assert await identity.tokens.revoke(child.id, now=NOW + 9, **TOLD) == 0
    assert await identity.tokens.revoke("another", now=NOW + 9, **TOLD) == 0
    assert await identity.tokens.revoke(top.id, now=NOW + 9, **TOLD) == 1
    assert await revoked(identity, top, child, grandchild) == [NOW + 9, NOW + 5, NOW + 5]


async def test_revoking_ends_what_was_made_with_one_that_is_over_or_was_spent(identity):
    top, child, grandchild, _ = await family(identity)
    await identity.tokens.spend(child.id, now=NOW + 1)
    assert await identity.tokens.revoke(top.id, now=NOW + 9e6, **TOLD) == 2
    assert await revoked(identity, top, child, grandchild) == [NOW + 9e6, NOW + 1, NOW + 9e6]


async def test_all_of_a_principal_are_revoked_but_the_one_that_is_kept(identity):
    top, child, grandchild, _ = await family(identity)
    kept = a_token(kind=TokenKind.SESSION, parent=top.id)
    of_kept = a_token(parent=kept.id, kind=TokenKind.ACCESS)
    ticket = a_token(kind=TokenKind.TICKET)
    theirs = a_token(owner=BOB)
    for token in (kept, of_kept, ticket, theirs):
        await identity.tokens.insert(token)
    ended = await identity.tokens.revoke_all(
        ADA.issuer, ADA.subject, kinds=[TokenKind.API_KEY, TokenKind.SESSION], keep=kept.id, now=NOW + 5, **TOLD
    )
    assert ended == 4  # the stranger of the family is one of Ada's, too
    assert await revoked(identity, top, child, grandchild) == [NOW + 5] * 3
    assert await revoked(identity, kept, of_kept, ticket, theirs) == [None] * 4
    assert {stop.target for stop in await identity.stops.since(0)} >= {top.id, child.id, grandchild.id}
    every = {"kinds": list(TokenKind), "keep": ""}
    assert await identity.tokens.revoke_all(ADA.issuer, ADA.subject, now=NOW + 6, **TOLD, **every) == 3
    assert await identity.tokens.revoke_all(ADA.issuer, "nobody", now=NOW + 6, **TOLD, **every) == 0
    assert await identity.tokens.revoke_all(BOB.issuer, BOB.subject, kinds=[], keep="", now=NOW + 6, **TOLD) == 0


def test_every_kind_can_be_named_at_once():
    assert len(TokenKind) <= KINDS


async def test_what_is_for_one_use_is_used_by_one(identity):
    ticket = a_token(kind=TokenKind.TICKET)
    await identity.tokens.insert(ticket)
    assert await identity.tokens.spend(ticket.id, now=NOW + 1) is True
    assert await identity.tokens.spend(ticket.id, now=NOW + 2) is False
    assert await identity.tokens.spend("another", now=NOW + 2) is False
    assert await identity.tokens.get(ticket.id) == replace(ticket, revoked_at=NOW + 1)


async def test_the_last_use_never_goes_back(identity):
    token = a_token()
    await identity.tokens.insert(token)
    for at in (NOW + 5, NOW + 3, NOW + 7.5, NOW):
        await identity.tokens.used(token.id, at=at)
    await identity.tokens.used("another", at=NOW)
    assert await identity.tokens.get(token.id) == replace(token, last_used_at=NOW + 7.5)


async def test_a_hash_is_replaced_where_it_still_is_as_given(identity):
    token, other, jwt = a_token(), a_token(), a_token(digest="")
    for each in (token, other, jwt):
        await identity.tokens.insert(each)
    change = identity.tokens.rehash
    assert await change(token.id, before="moved on", digest="new", key_id="key-2") is False
    assert await change(token.id, before=token.digest, digest=other.digest, key_id="key-2") is False
    assert await change(jwt.id, before="", digest="new", key_id="key-2") is False
    assert await change(token.id, before=token.digest, digest="new", key_id="key-2") is True
    assert await identity.tokens.by_digest("new") == replace(token, digest="new", key_id="key-2")
    assert await identity.tokens.by_digest(token.digest) is None


async def test_keys_are_counted_by_the_tokens_that_are_good(identity):
    for changes in (
        {},
        {},
        {"key_id": "key-2", "digest": ""},
        {"key_id": ""},
        {"revoked_at": NOW},
        {"expires_at": NOW},
    ):
        await identity.tokens.insert(a_token(**changes))
    assert await identity.tokens.key_ids(now=NOW) == {"key-1": 2, "key-2": 1}


async def test_what_ended_is_swept_and_a_parent_not_before_its_children(identity):
    top, child, grandchild, _ = await family(identity)
    spent = a_token(revoked_at=NOW - 50)
    over = a_token(expires_at=NOW - 50)
    for token in (spent, over):
        await identity.tokens.insert(token)
    await identity.tokens.spend(child.id, now=NOW)
    assert await identity.tokens.sweep(before=NOW - 50) == 0
    assert await identity.tokens.sweep(before=NOW + 10) == 2
    assert await identity.tokens.get(child.id) is not None
    assert await identity.tokens.by_digest(over.digest) is None
    await identity.tokens.revoke(top.id, now=NOW, **TOLD)
    assert await identity.tokens.sweep(before=NOW + 10) == 3
    assert await identity.tokens.get(grandchild.id) is None
