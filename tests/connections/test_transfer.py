"""Accounts go from one vault to another in one encrypted file, or stay where they are."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.connections.system import ANN, BOB, accounts, held, made, token
from valetkey.connections import passphrase as sealing
from valetkey.connections.transfer import Became, Transfer
from valetkey.errors import InvalidArguments, VaultError
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.model.connections import Cause, Connection, Health, Sealed, Standing
from valetkey.secret import Secret
from valetkey.testing import canary
from valetkey.testing.clock import ManualClock

PASSPHRASE = Secret("correct horse battery staple")
COST = 2**14


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def here(clock):
    system = made(clock)
    yield system
    system.close()


@pytest.fixture
def there(clock):
    """Another vault, with a key of its own."""
    system = made(clock)
    yield system
    system.close()


def transfer(system) -> Transfer:
    return Transfer(
        store=system.stores.connections,
        sealer=system.sealer,
        clock=system.clock,
        entropy=system.entropy,
        wakeups=system.bus.wakeups,
    )


async def packed(system, passphrase: Secret = PASSPHRASE) -> bytes:
    return transfer(system).pack(await accounts(system).all(), passphrase, cost=COST).file


async def unpacked(system, file: bytes, passphrase: Secret = PASSPHRASE, **options):
    outcomes = await transfer(system).unpack(file, passphrase, **options)
    return {(each.owner and each.owner.subject, each.name): each.became for each in outcomes}


def told(connection: Connection) -> Connection:
    """What has to be the same in the other vault."""
    return replace(connection, id="", sealed=Sealed(b""), generation=1, updated_at=0.0)


@pytest.mark.requirement("B5.transfer")
async def test_an_account_arrives_with_all_that_makes_it_and_sealed_anew(here, there, clock):
    went = await held(here, "work", account="ann@work.example", scopes=("read", "write"))
    clock.advance(60)
    assert await unpacked(there, await packed(here)) == {("ann", "google:work"): Became.IMPORTED}
    (came,) = await accounts(there).all()
    assert told(came) == told(went)
    assert (came.id, came.sealed) != (went.id, went.sealed)
    assert there.sealer.open_credential(came) == here.sealer.open_credential(went)


@pytest.mark.parametrize(
    ("handler", "values"),
    [
        ("basicauth", {"username": "ann", "password": "p\u00e4ssw\u00f6rt"}),
        ("kraken-keypair", {"api_key": "public", "api_secret": "private"}),
        ("apitoken", {"access_token": "the token"}),
    ],
)
async def test_every_kind_of_credential_arrives_as_it_was(here, there, handler, values):
    await accounts(here).add(here.handling.find(handler, None), ANN, "box", values)
    await unpacked(there, await packed(here))
    (came,), (went,) = await accounts(there).all(), await accounts(here).all()
    credential = there.sealer.open_credential(came)
    assert credential == here.sealer.open_credential(went)
    given = {credential.access_token.reveal(), *(value.reveal() for value in credential.fields.values())}
    assert set(values.values()) <= given


@pytest.mark.requirement("V-13")
async def test_no_secret_and_no_name_can_be_read_in_the_file(here):
    secret = "a token that has to stay unseen"
    await accounts(here).add(here.handling.find("github-token", None), ANN, "ann-at-work", {"access_token": secret})
    file = await packed(here)
    assert canary.find({"the file": file}, [secret]) == []
    assert b"ann" not in file
    assert b"github" not in file
    head = json.loads(file)
    assert head["kdf"] == {"name": "scrypt", "n": COST, "r": 8, "p": 1, "salt": head["kdf"]["salt"]}


async def test_two_exports_of_the_same_have_nothing_in_common(here):
    await held(here)
    first, second = json.loads(await packed(here)), json.loads(await packed(here))
    assert first["kdf"]["salt"] != second["kdf"]["salt"]
    assert first["cipher"]["nonce"] != second["cipher"]["nonce"]
    assert first["data"] != second["data"]


@pytest.mark.requirement("V-13")
async def test_another_passphrase_opens_nothing_and_writes_nothing(here, there):
    await held(here)
    with pytest.raises(VaultError, match="passphrase is another one, or the file was changed"):
        await unpacked(there, await packed(here), Secret("correct horse battery stapler"))
    assert await accounts(there).all() == []


def flipped(file: bytes, path: tuple[str, ...], value: object = None) -> bytes:
    """The file with one value changed; a text has one character replaced."""
    document = json.loads(file)
    place = document
    for key in path[:-1]:
        place = place[key]
    before = place[path[-1]]
    place[path[-1]] = value if value is not None else ("B" if before[0] == "A" else "A") + before[1:]
    return json.dumps(document).encode()


@pytest.mark.requirement("B5.transfer")
@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("data",), None),
        (("data",), "not base64!"),
        (("data",), ""),
        (("data",), 7),
        (("kdf", "salt"), None),
        (("kdf", "salt"), ""),
        (("kdf", "n"), 2**15),
        (("kdf", "n"), 2**40),
        (("kdf", "n"), 3),
        (("kdf", "n"), "16384"),
        (("kdf", "n"), True),
        (("kdf", "r"), 9),
        (("kdf", "name"), "argon2id"),
        (("kdf",), []),
        (("cipher", "nonce"), None),
        (("cipher", "nonce"), "AAAA"),
        (("cipher", "name"), "none"),
        (("comment",), "added"),
    ],
)
async def test_a_changed_file_is_one_sentence_and_writes_nothing(here, there, path, value):
    await held(here)
    file = await packed(here)
    changed = json.loads(file) | {"comment": "x"} if path == ("comment",) else None
    file = json.dumps(changed).encode() if changed else file
    with pytest.raises(VaultError) as raised:
        await unpacked(there, flipped(file, path, value))
    assert str(raised.value).count(".") == 1
    assert await accounts(there).all() == []


@pytest.mark.parametrize("file", [b"", b"{}", b"\xff\xfe", b"[1]", b"[" * 100_000, b'{"format": "valetkey-accounts"}'])
async def test_what_is_no_such_file_is_refused(there, file):
    with pytest.raises(InvalidArguments):
        await unpacked(there, file)


async def test_a_file_of_a_later_version_says_so(here, there):
    await held(here)
    with pytest.raises(InvalidArguments, match="another version"):
        await unpacked(there, flipped(await packed(here), ("version",), 2))


async def test_a_short_passphrase_is_refused(here):
    await held(here)
    with pytest.raises(InvalidArguments, match="12 characters"):
        await packed(here, Secret("eleven char"))


async def test_a_passphrase_typed_on_another_keyboard_is_the_same(here, there):
    await held(here)
    file = await packed(here, Secret("caf\u00e9 caf\u00e9 caf\u00e9"))
    assert await unpacked(there, file, Secret("cafe\u0301 cafe\u0301 cafe\u0301"))


async def test_what_is_there_is_kept_unless_it_is_to_be_replaced(here, there):
    await held(here, "work")
    await held(here, "home")
    await held(there, "work", scopes=("mine",))
    file = await packed(here)
    assert await unpacked(there, file) == {("ann", "google:work"): Became.KEPT, ("ann", "google:home"): Became.IMPORTED}
    before = await there.stores.connections.get(ANN, "google", "work")
    assert before.scopes == {"mine"}
    assert set((await unpacked(there, file, instead=True)).values()) == {Became.REPLACED}
    after = await there.stores.connections.get(ANN, "google", "work")
    assert (after.id, after.generation, after.scopes) == (before.id, before.generation + 1, {"read"})
    assert token(there, after) == "the token of ann work"


async def test_importing_twice_changes_nothing_the_second_time(here, there):
    await held(here)
    file = await packed(here)
    await unpacked(there, file)
    once = await accounts(there).all()
    assert set((await unpacked(there, file)).values()) == {Became.KEPT}
    assert await accounts(there).all() == once


async def test_the_accounts_of_a_file_can_become_somebody_elses(here, there):
    await held(here, "work")
    eve = owner_of("eve")
    assert await unpacked(there, await packed(here), owner=eve) == {("eve", "google:work"): Became.IMPORTED}
    (came,) = await accounts(there).all()
    assert came.owner == eve
    assert token(there, came) == "the token of ann work"


@pytest.mark.parametrize("instead", [False, True])
async def test_two_peoples_accounts_of_one_name_do_not_become_one(here, there, instead):
    await held(here, "work", owner=ANN)
    await held(here, "work", owner=BOB)
    outcomes = await transfer(there).unpack(await packed(here), PASSPHRASE, owner=owner_of("eve"), instead=instead)
    assert [each.became for each in outcomes] == [Became.IMPORTED, Became.REFUSED]
    (came,) = await accounts(there).all()
    assert token(there, came) == "the token of ann work"


async def test_a_person_who_is_needed_here_is_needed_there_and_a_wait_is_not_taken_along(here, there, clock):
    dead, late = await held(here, "dead"), await held(here, "late")
    for row, health, cause in ((dead, "needs_reauth", "refused"), (late, "transient", "unavailable")):
        standing = Standing(
            health=Health(health), cause=Cause(cause), reason="why", fail_count=3, next_try_at=9e9, at=clock.now()
        )
        assert await here.stores.connections.note(row.id, generation=row.generation, standing=standing)
    await unpacked(there, await packed(here))
    came = {row.profile: row for row in await accounts(there).all()}
    assert (came["dead"].health, came["dead"].cause, came["dead"].reason) == ("needs_reauth", "refused", "why")
    assert (came["late"].health, came["late"].cause, came["late"].next_try_at) == ("ok", "", 0.0)


async def test_one_whose_secret_cannot_be_opened_is_left_out_and_said(here):
    good, bad = await held(here, "good"), await held(here, "bad")
    swapped = replace(bad, sealed=good.sealed)
    outcome = transfer(here).pack([good, swapped], PASSPHRASE, cost=COST)
    assert [row.profile for row in outcome.packed] == ["good"]
    ((left, reason),) = outcome.left_out
    assert left.profile == "bad"
    assert reason


def damaged(change) -> bytes:
    """A file whose writer knew the passphrase, and wrote what no export does."""
    entry: dict[str, Any] = {
        "owner": {"workspace": "local", "issuer": "host", "subject": "ann"},
        "provider": "google",
        "handler": "google-oauth2",
        "profile": "work",
        "scopes": ["read"],
        "account": None,
        "issued_at": 1.0,
        "expires_at": None,
        "refresh_at": None,
        "refreshable": False,
        "created_at": 1.0,
        "health": "ok",
        "cause": "",
        "reason": "",
        "credential": {
            "access_token": "a",
            "refresh_token": None,
            "fields": {},
            "token_type": "bearer",
            "context_class": None,
            "context": None,
        },
    }
    good = json.loads(json.dumps(entry)) | {"profile": "good"}
    broken = change(entry)
    document = json.dumps({"version": 1, "exported_at": 0, "accounts": [broken, good]})
    return sealing.seal(Secret(document), PASSPHRASE, _Draws(), cost=COST)


class _Draws:
    def bytes(self, size: int) -> bytes:
        return b"\1" * size

    def token(self, size: int = 32) -> str:
        return "1" * size


def without(entry: dict, key: str) -> dict:
    return {name: value for name, value in entry.items() if name != key}


@pytest.mark.parametrize(
    "change",
    [
        lambda _: "text",
        lambda _: None,
        lambda entry: without(entry, "credential"),
        lambda entry: without(entry, "owner"),
        lambda entry: entry | {"owner": "ann"},
        lambda entry: entry | {"provider": "../../etc"},
        lambda entry: entry | {"provider": 7},
        lambda entry: entry | {"profile": "\x1b[31m"},
        lambda entry: entry | {"profile": ""},
        lambda entry: entry | {"scopes": "read"},
        lambda entry: entry | {"expires_at": "soon"},
        lambda entry: entry | {"expires_at": 1e300},
        lambda entry: entry | {"handler": "x" * 5000},
        lambda entry: entry | {"health": "needs_reauth", "cause": "weather"},
        lambda entry: entry | {"credential": entry["credential"] | {"access_token": 7}},
        lambda entry: entry | {"credential": entry["credential"] | {"fields": {"a": 1}}},
    ],
)
async def test_an_entry_that_describes_no_account_is_refused_and_the_others_are_imported(there, change):
    outcomes = await transfer(there).unpack(damaged(change), PASSPHRASE)
    assert [each.became for each in outcomes] == [Became.REFUSED, Became.IMPORTED]
    assert outcomes[0].reason
    assert [row.profile for row in await accounts(there).all()] == ["good"]


async def test_the_usual_cost_is_the_one_that_is_recommended():
    assert sealing.COST == 2**17  # OWASP: N=2^17, r=8, p=1
