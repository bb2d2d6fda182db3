"""What is sealed opens in its own place only, or says in words that it does not."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stores.values import ADA, BOB, a_connection, an_interaction
from tests.vault.keys import ACCESS, FULL, REFRESH, Dice, Given, a_ring, a_vault, material, seal_full
from tests.vault.test_keyring import hkdf
from valetkey.adapters.system import SystemEntropy
from valetkey.errors import KeyUnavailable, VaultError
from valetkey.model.connections import Connection, Credential, Sealed
from valetkey.model.revocations import Revocation
from valetkey.secret import Secret
from valetkey.vault.seal import Sealer


def connection_of(sealer: Sealer, **changes: Any) -> Connection:
    """A row with a sealed credential; the changes are made after sealing."""
    return replace(a_connection(id="c1", sealed=seal_full(sealer)), **changes)


def test_a_credential_comes_back_whole():
    sealer, _ = a_vault()
    assert sealer.open_credential(connection_of(sealer)) == FULL
    least = Credential(access_token=Secret(""))
    sealed = sealer.seal_credential(least, connection_id="c1", owner=ADA, provider="slack", generation=1)
    assert sealer.open_credential(connection_of(sealer, sealed=sealed)) == least


def test_a_token_with_half_a_character_comes_back_as_it_was():
    # json.loads makes such a text of a provider's escape sequence.
    sealer, _ = a_vault()
    odd = Credential(access_token=Secret("a\ud800"))
    sealed = sealer.seal_credential(odd, connection_id="c1", owner=ADA, provider="slack", generation=1)
    opened = sealer.open_credential(connection_of(sealer, sealed=sealed))
    assert opened.access_token.reveal() == "a\ud800"


def test_the_format_is_the_documented_one():
    # Opened by the standard's own words, with nothing of ours: version, length, key id, nonce, ciphertext and tag.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    sealer, _ = a_vault("key-1")
    sealed = sealer.seal(Secret("é"), bound=("table", "w", 7))
    assert sealed[:2] == bytes((1, 5))
    assert sealed[2:7] == b"key-1"
    key = hkdf(hkdf(material("key-1"), b"valetkey seal 1"), b"valetkey workspace 1 w")
    associated = sealed[:7] + b"s5:tables1:wi7;"
    assert AESGCM(key).decrypt(sealed[7:19], sealed[19:], associated) == "é".encode()


def test_two_workspaces_have_keys_of_their_own():
    """V-16."""
    ring = a_ring(Given("k1"))
    sealed = ring.cipher("k1", "one").encrypt(b"n" * 12, b"secret", None)
    from cryptography.exceptions import InvalidTag

    with pytest.raises(InvalidTag):
        ring.cipher("k1", "two").decrypt(b"n" * 12, sealed, None)
    assert ring.cipher("k1", "one") is ring.cipher("k1", "one")


# McGrew and Viega, The Galois/Counter Mode of Operation, appendix B, test cases 13 to 16 (AES-256):
# key, nonce, plaintext, associated data, ciphertext, tag.
K = "feffe9928665731c6d6a8f9467308308" * 2
P = (
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
)
C = (
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
)
VECTORS = {
    "13": ("00" * 32, "00" * 12, "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
    "14": (
        "00" * 32,
        "00" * 12,
        "00" * 16,
        "",
        "cea7403d4d606b6e074ec5d3baf39d18",
        "d0d1c8a799996bf0265b98b5d48ab919",
    ),
    "15": (K, "cafebabefacedbaddecaf888", P, "", C, "b094dac5d93471bdec1a502270e3cc6c"),
    "16": (
        K,
        "cafebabefacedbaddecaf888",
        P[:120],
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        C[:120],
        "76fc6ece0f4e1768cddf8853bb2d551b",
    ),
}


@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS)
def test_the_cipher_is_aes_256_gcm(vector, monkeypatch):
    """V-18, the short form."""
    from cryptography.exceptions import InvalidTag

    key, nonce, plain, associated, ciphertext, tag = map(bytes.fromhex, vector)
    ring = a_ring(Given("k1"))
    monkeypatch.setattr("valetkey.vault.keyring._expand", lambda material, info: key)
    cipher = ring.cipher("k1")
    assert cipher.encrypt(nonce, plain, associated) == ciphertext + tag
    assert cipher.decrypt(nonce, ciphertext + tag, associated) == plain
    with pytest.raises(InvalidTag):
        cipher.decrypt(nonce, ciphertext + tag[:-1] + bytes((tag[-1] ^ 1,)), associated)


@pytest.mark.requirement("B.shown-moved")
@pytest.mark.parametrize(
    "changes",
    [
        {"id": "c2"},
        {"owner": BOB},
        {"owner": replace(ADA, workspace="other")},
        {"owner": replace(ADA, issuer="other")},
        {"provider": "google"},
        {"generation": 2},
        {"generation": 0},
    ],
    ids=str,
)
def test_a_credential_opens_only_in_the_row_that_it_was_sealed_for(changes):
    """V-02."""
    sealer, _ = a_vault()
    with pytest.raises(VaultError, match="cannot be opened"):
        sealer.open_credential(connection_of(sealer, **changes))


def test_two_rows_that_swap_their_secrets_both_stay_closed():
    """V-02."""
    sealer, _ = a_vault()
    rows = []
    for number, owner in (("1", ADA), ("2", BOB)):
        sealed = seal_full(sealer, connection_id=number, owner=owner)
        rows.append(a_connection(id=number, owner=owner, sealed=sealed))
    for row, other in (rows, reversed(rows)):
        assert sealer.open_credential(row) == FULL
        with pytest.raises(VaultError):
            sealer.open_credential(replace(row, sealed=other.sealed))


def test_what_may_change_without_sealing_again_may_change():
    sealer, _ = a_vault()
    row = connection_of(sealer, profile="renamed", scopes=frozenset(), expires_at=None, lease_owner="p1")
    assert sealer.open_credential(row) == FULL


def test_a_changed_bit_anywhere_is_an_error_never_garbage():
    """V-03: version, length, key id, nonce, ciphertext, tag; every bit of every byte."""
    sealer, _ = a_vault("k1")
    row = connection_of(sealer)
    for place in range(len(row.sealed)):
        for bit in range(8):
            changed = bytearray(row.sealed)
            changed[place] ^= 1 << bit
            with pytest.raises(VaultError) as caught:
                sealer.open_credential(replace(row, sealed=Sealed(bytes(changed))))
            assert str(caught.value).isprintable()


def test_another_key_s_name_on_it_is_an_error():
    sealer, _ = a_vault("k1", "k2")
    row = connection_of(sealer)
    with pytest.raises(VaultError, match="cannot be opened"):
        sealer.open_credential(replace(row, sealed=Sealed(row.sealed.replace(b"k1", b"k2"))))


def test_a_part_of_it_or_more_than_it_is_an_error():
    sealer, _ = a_vault()
    row = connection_of(sealer)
    for length in range(len(row.sealed)):
        with pytest.raises(VaultError):
            sealer.open_credential(replace(row, sealed=Sealed(row.sealed[:length])))
    with pytest.raises(VaultError):
        sealer.open_credential(replace(row, sealed=Sealed(row.sealed + b"\0")))


parts = st.lists(st.text(max_size=4) | st.integers(-20, 20), max_size=4).map(tuple)


@given(parts, parts)
def test_no_two_places_are_taken_for_one(one, two):
    sealer, _ = a_vault()
    sealed = sealer.seal(Secret("x"), bound=one)
    if one == two:
        assert sealer.open(sealed, two) == Secret("x")
    else:
        with pytest.raises(VaultError):
            sealer.open(sealed, two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (("ab", "c"), ("a", "bc")),
        (("a",), ("a", "")),
        (("1",), (1,)),
        (("s1:a",), ("a",)),
        ((1, 2), (12,)),
        (("a\0b",), ("a", "b")),
        ((), ("",)),
    ],
)
def test_places_that_look_alike_are_not_taken_for_one(one, two):
    sealer, _ = a_vault()
    for here, there in ((one, two), (two, one)):
        with pytest.raises(VaultError):
            sealer.open(sealer.seal(Secret("x"), bound=here), there)


@given(st.text(alphabet=st.characters(), max_size=50))
def test_any_text_comes_back_as_it_was(text):
    sealer, _ = a_vault()
    assert sealer.open(sealer.seal(Secret(text), bound=("t",)), ("t",)).reveal() == text


def nonces(count: int) -> int:
    """How many different nonces that many seals have."""
    sealer = Sealer(a_ring(Given("k1")), SystemEntropy())
    secret = Secret("x")
    return len({sealer.seal(secret, bound=())[4:16] for _ in range(count)})


def test_no_nonce_comes_twice():
    """V-05, the short form."""
    assert nonces(100_000) == 100_000


@pytest.mark.requirement("V-05")
@pytest.mark.long
def test_no_nonce_comes_twice_in_a_million():
    """V-05."""
    assert nonces(1_000_000) == 1_000_000


@pytest.mark.requirement("V-05.counted")
def test_every_seal_is_counted_by_its_key(monkeypatch):
    """V-05."""
    sealer, source = a_vault("k1")
    counted: list[str] = []
    monkeypatch.setattr(sealer.keyring, "count", counted.append)
    connection_of(sealer)
    source.ids.insert(0, "k2")
    sealer.keyring.reload()
    sealer.seal_private({}, interaction_id="i1", owner=ADA, part="payload")
    sealer.open_credential(connection_of(sealer))
    assert counted == ["k1", "k2", "k2"]


@pytest.mark.requirement("V-06")
def test_the_newest_key_seals_and_all_open():
    sealer, source = a_vault("k1")
    old = connection_of(sealer)
    source.ids.insert(0, "k2")
    sealer.keyring.reload()
    new = connection_of(sealer)
    assert (old.sealed[2:4], new.sealed[2:4]) == (b"k1", b"k2")
    for row in (old, new):
        assert sealer.open_credential(row) == FULL


@pytest.mark.requirement("B3.lost-key")
def test_a_lost_key_fails_alone_and_is_named():
    """V-06, R-37."""
    sealer, source = a_vault("k1")
    lost = connection_of(sealer)
    source.ids[:] = ["k2"]
    sealer.keyring.reload()
    with pytest.raises(KeyUnavailable, match="k1"):
        sealer.open_credential(lost)
    assert sealer.open_credential(connection_of(sealer)) == FULL


def test_private_parts_come_back_and_open_only_in_their_own_place():
    sealer, _ = a_vault()
    values = {"link": "https://example.com/?state=canary", "verifier": "v", "handler": {"n": [1, None, "\ud800"]}}
    sealed = {
        part: sealer.seal_private(values, interaction_id="i1", owner=ADA, part=part) for part in ("payload", "answer")
    }
    row = an_interaction(id="i1", payload=sealed["payload"], answer=sealed["answer"])
    assert sealer.open_private(row, "payload") == values
    assert sealer.open_private(row, "answer") == values
    assert sealed["payload"].find(b"canary") == -1

    swapped = replace(row, payload=sealed["answer"], answer=sealed["payload"])
    for wrong in (replace(row, id="i2"), replace(row, owner=BOB), swapped):
        for part in ("payload", "answer"):
            with pytest.raises(VaultError, match="cannot be opened"):
                sealer.open_private(wrong, part)


def test_a_revocation_s_credential_comes_back_and_opens_only_in_its_own_place():
    """V-02."""
    sealer, _ = a_vault()
    sealed = sealer.seal_revocation(FULL, revocation_id="c1", owner=ADA, provider="slack")
    row = Revocation(id="c1", owner=ADA, provider="slack", handler="oauth2", sealed=sealed, created_at=1.0)
    assert sealer.open_revocation(row) == FULL
    bound = ("revocation", ADA.workspace, ADA.issuer, ADA.subject, "c1", "slack")
    assert ACCESS in sealer.open(sealed, bound).reveal()
    assert sealer.open_revocation(replace(row, tries=3, next_try_at=5.0, reason="no answer")) == FULL
    for wrong in (
        replace(row, id="c2"),
        replace(row, owner=BOB),
        replace(row, owner=replace(ADA, workspace="other")),
        replace(row, provider="google"),
        replace(row, sealed=seal_full(sealer)),
    ):
        with pytest.raises(VaultError, match="cannot be opened"):
            sealer.open_revocation(wrong)
    with pytest.raises(VaultError):
        sealer.open_credential(connection_of(sealer, sealed=sealed))


def test_a_credential_that_names_no_client_is_read_as_before():
    sealer, _ = a_vault()
    bound = ("connection", ADA.workspace, ADA.issuer, ADA.subject, "c1", 1, "slack")
    sealed = sealer.seal(Secret('{"access_token":"a","token_type":"bearer"}'), bound=bound)
    assert sealer.open_credential(connection_of(sealer, sealed=sealed)) == Credential(access_token=Secret("a"))
    now = sealer.seal_credential(
        Credential(access_token=Secret("a")), connection_id="c1", owner=ADA, provider="slack", generation=1
    )
    assert sealer.open(now, bound).reveal() == '{"access_token":"a","token_type":"bearer"}'


def test_a_part_that_is_not_there_yet_says_so():
    sealer, _ = a_vault()
    payload = sealer.seal_private({}, interaction_id="i1", owner=ADA, part="payload")
    with pytest.raises(VaultError, match="no answer yet"):
        sealer.open_private(an_interaction(id="i1", payload=payload), "answer")


def test_a_connection_s_secret_is_no_interaction_s():
    sealer, _ = a_vault()
    sealed = seal_full(sealer)
    with pytest.raises(VaultError):
        sealer.open_private(an_interaction(id="c1", payload=sealed), "payload")


@pytest.mark.parametrize("held", ["", "[]", "null", "{", "{}", '{"access_token":1,"token_type":"b"}'])
def test_a_form_that_this_version_does_not_read_is_said(held):
    sealer, _ = a_vault()
    bound = ("connection", ADA.workspace, ADA.issuer, ADA.subject, "c1", 1, "slack")
    row = a_connection(id="c1", sealed=sealer.seal(Secret(held), bound=bound))
    with pytest.raises(VaultError, match="Upgrade"):
        sealer.open_credential(row)


def test_a_source_s_own_id_must_fit_the_format():
    for name in ("", "two words", "é", "x" * 65, "a\n"):
        with pytest.raises(VaultError, match="key's id"):
            Sealer(a_ring(Given(name)), Dice()).seal(Secret("x"), bound=())


def test_no_secret_is_in_a_message_or_what_is_sealed():
    sealer, _ = a_vault()
    row = connection_of(sealer)
    for text in (ACCESS, REFRESH):
        assert row.sealed.find(text.encode()) == -1
    with pytest.raises(VaultError) as caught:
        sealer.open_credential(replace(row, generation=2))
    assert "canary" not in f"{caught.value!r} {caught.value.__cause__!r}"
    with pytest.raises(TypeError) as wrong:
        sealer.seal_private({"a": Secret(ACCESS)}, interaction_id="i", owner=ADA, part="payload")
    assert ACCESS not in str(wrong.value)
