"""What is stopped, accounts, workspaces and the audit log, in every store."""

import asyncio
from dataclasses import replace

import pytest

from tests.stores.values import NOW, a_record, a_stop, a_workspace, an_account
from valetkey.errors import InvalidArguments
from valetkey.model.audit import Action, Entry
from valetkey.model.stops import StopKind


async def test_where_nothing_was_stopped_there_is_nothing_to_hear(identity):
    assert await identity.stops.revision() == 0
    assert list(await identity.stops.since(0)) == []
    assert await identity.stops.lift(StopKind.USER, "ada", now=NOW) is False


async def test_every_change_is_told_in_order_and_from_anywhere(identity):
    stops = [a_stop(), a_stop(kind=StopKind.TOOL, target="mail"), a_stop(kind=StopKind.TOKEN, ends_at=NOW + 60)]
    for stop in stops:
        await identity.stops.put(stop)
    heard = await identity.stops.since(0)
    assert [replace(stop, revision=0) for stop in heard] == stops
    revisions = [stop.revision for stop in heard]
    assert revisions == sorted(set(revisions))
    assert await identity.stops.revision() == revisions[-1]
    assert await identity.stops.since(revisions[1]) == heard[2:]

    await identity.stops.put(a_stop(reason="left", by="eve", created_at=NOW + 1, ends_at=NOW + 9))
    assert await identity.stops.lift(StopKind.TOOL, "mail", now=NOW + 2) is True
    changed, lifted = await identity.stops.since(revisions[-1])
    again = a_stop(reason="left", by="eve", created_at=NOW + 1, ends_at=NOW + 9)
    assert changed == replace(again, revision=changed.revision)
    assert lifted == replace(stops[1], lifted=True, ends_at=NOW + 2, revision=await identity.stops.revision())
    assert revisions[-1] < changed.revision < lifted.revision


async def test_only_what_is_stopped_now_can_be_lifted_and_is_shown(identity):
    await identity.stops.put(a_stop(target="b"))
    await identity.stops.put(a_stop(target="a", ends_at=NOW + 1))
    await identity.stops.put(a_stop(kind=StopKind.TOOL, target="c"))
    await identity.stops.put(a_stop(kind=StopKind.TOKEN, target="d"))
    assert [stop.target for stop in await identity.stops.active(now=NOW)] == ["c", "a", "b"]
    assert [stop.target for stop in await identity.stops.active(now=NOW + 1)] == ["c", "b"]
    assert await identity.stops.lift(StopKind.USER, "a", now=NOW + 1) is False
    assert await identity.stops.lift(StopKind.TOOL, "b", now=NOW) is False
    assert await identity.stops.lift(StopKind.USER, "b", now=NOW) is True
    assert await identity.stops.lift(StopKind.USER, "b", now=NOW) is False
    assert [stop.target for stop in await identity.stops.active(now=NOW)] == ["c", "a"]
    await identity.stops.put(a_stop(target="b"))
    assert [stop.target for stop in await identity.stops.active(now=NOW)] == ["c", "a", "b"]


async def test_what_ended_or_was_lifted_is_swept(identity):
    await identity.stops.put(a_stop(target="for ever"))
    await identity.stops.put(a_stop(target="over", ends_at=NOW - 1))
    await identity.stops.put(a_stop(target="young", ends_at=NOW + 1))
    await identity.stops.put(a_stop(target="lifted"))
    await identity.stops.lift(StopKind.USER, "lifted", now=NOW - 5)
    revision = await identity.stops.revision()
    assert await identity.stops.sweep(before=NOW) == 2
    assert {stop.target for stop in await identity.stops.since(0)} == {"for ever", "young"}
    assert await identity.stops.revision() == revision


async def test_accounts_are_saved_by_compare_and_set(identity):
    account = an_account()
    assert await identity.accounts.insert(account) is True
    assert await identity.accounts.insert(replace(an_account(), name=account.name)) is False
    assert await identity.accounts.get(account.name) == account
    newer = replace(account, disabled=True, roles=(), email="", version=2, changed_at=NOW + 9)
    assert await identity.accounts.save(newer, version=2) is False
    assert await identity.accounts.save(newer, version=1) is True
    assert await identity.accounts.save(newer, version=1) is False
    assert await identity.accounts.get(account.name) == newer
    assert await identity.accounts.save(an_account(), version=1) is False
    others = [an_account() for _ in range(4)]
    for other in others:
        await identity.accounts.insert(other)
    expected = sorted([newer, *others], key=lambda each: each.name)
    first = await identity.accounts.page(limit=2)
    assert [*first, *await identity.accounts.page(after=first[-1].name)] == expected


async def test_workspaces_are_kept_whole(identity):
    workspace = a_workspace(status=None, service_types={"t": {"x": None}})
    assert await identity.workspaces.insert(workspace) is True
    assert await identity.workspaces.insert(a_workspace(id=workspace.id)) is False
    found = await identity.workspaces.get(workspace.id)
    assert found == workspace
    found.owners.append("eve")
    assert await identity.workspaces.get(workspace.id) == workspace
    other = a_workspace(id="ws-0")
    assert await identity.workspaces.save(other, was=other) is False
    await identity.workspaces.insert(other)
    newer = workspace.model_copy(update={"owners": ["bob"], "read_only": True, "config": {"\0": [1.5]}})
    assert await identity.workspaces.save(newer, was=workspace) is True
    assert await identity.workspaces.page() == sorted([other, newer], key=lambda each: each.id)
    assert await identity.workspaces.page(after="ws-0", limit=1) == [newer]
    assert await identity.workspaces.delete(workspace.id) is True
    assert await identity.workspaces.delete(workspace.id) is False
    assert await identity.workspaces.get(workspace.id) is None
    with pytest.raises(InvalidArguments, match="no JSON"):
        await identity.workspaces.insert(a_workspace(config={"loop": object()}))


async def test_of_two_who_change_a_workspace_at_the_same_moment_one_is_told_so(identity):
    await identity.workspaces.insert(a_workspace(id="ws-both"))
    one, two = [await identity.workspaces.get("ws-both") for _ in range(2)]
    first = one.model_copy(update={"config": {**one.config, "a": 1}})
    second = two.model_copy(update={"config": {**two.config, "b": 2}})
    saved = await asyncio.gather(identity.workspaces.save(first, was=one), identity.workspaces.save(second, was=two))
    assert sorted(saved) == [False, True]
    kept = await identity.workspaces.get("ws-both")
    assert kept in (first, second)
    assert await identity.workspaces.save(second, was=two) is False
    assert await identity.workspaces.save(one, was=kept) is True
    assert await identity.workspaces.save(second, was=two) is True


async def test_the_log_grows_by_whole_batches_or_not_at_all(identity):
    assert await identity.audit.head() is None
    assert await identity.audit.append([]) is True
    assert await identity.audit.append([a_record(1), a_record(2)]) is True
    assert await identity.audit.append([a_record(3), a_record(2, mac="another")]) is False
    batch = [a_record(seq, key_id=f"key-{1 + seq // 40}") for seq in range(3, 142)]
    assert await identity.audit.append(batch) is True
    assert await identity.audit.head() == batch[-1]
    assert list(await identity.audit.page(limit=9999)) == [a_record(1), a_record(2), *batch]
    assert [record.seq for record in await identity.audit.page(after=5, limit=3)] == [6, 7, 8]
    assert [record.seq for record in await identity.audit.latest(limit=3)] == [139, 140, 141]
    assert await identity.audit.key_ids() == {"key-1", "key-2", "key-3", "key-4"}


async def test_a_record_comes_back_to_the_letter(identity):
    odd = "\0 \ud800 \U0001f511 '; DROP TABLE audit; --"
    entry = Entry(action=Action.SIGN_IN, outcome=odd, user=odd, address=odd, details={odd: odd})
    record = a_record(2**40, at=1_750_000_000.123457, entry=entry)
    assert await identity.audit.append([record]) is True
    assert await identity.audit.head() == record
