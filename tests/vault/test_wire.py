"""Messages between instances: opened once, by whom they are for, and by nobody else."""

import pytest

from tests.vault.keys import Given, a_ring
from valetkey.errors import KeyUnavailable
from valetkey.vault.wire import ALL, End, NotOurs, Wire

A, B, C = End("a", "life-a"), End("b", "life-b"), End("c", "life-c")


def wires(*keys: str) -> tuple[Wire, Wire]:
    return Wire(a_ring(Given(*(keys or ("k1",)))), here=A), Wire(a_ring(Given(*(keys or ("k1",)))), here=B)


def refused(wire: Wire, data: bytes, match: str | None = None) -> None:
    with pytest.raises(NotOurs, match=match):
        wire.open(data)


@pytest.mark.parametrize("to", [B, ALL])
def test_what_is_said_is_opened_with_who_said_it_and_where_it_stands(to):
    a, b = wires()
    for stream, number in ((1, 1), (1, 2), (1, 7), (2, 1)):
        said = b.open(a.seal(b"hello", to=to, stream=stream, number=number))
        assert (said.plain, said.sender, said.to, said.stream, said.number) == (b"hello", A, to, stream, number)


@pytest.mark.requirement("E4.sealed")
def test_nothing_is_taken_twice_nor_after_what_follows_it():
    a, b = wires()
    first, second, other = (a.seal(b"x", to=B, stream=stream, number=n) for stream, n in ((1, 1), (1, 2), (2, 1)))
    b.open(first)
    refused(b, first, "before")
    b.open(other)
    refused(b, second, "before")
    assert b.open(a.seal(b"x", to=ALL, stream=0, number=1)).number == 1  # counted by itself


@pytest.mark.requirement("E4.sealed")
def test_what_is_for_another_or_for_another_life_or_one_s_own_is_refused():
    a, b = wires()
    data = a.seal(b"x", to=B, stream=1, number=1)
    refused(Wire(a_ring(Given("k1")), here=C), data, "another")
    refused(Wire(a_ring(Given("k1")), here=End("b", "life-2")), data, "earlier life")
    refused(a, a.seal(b"x", to=ALL, stream=0, number=1), "another")
    refused(a, a.seal(b"x", to=A, stream=1, number=1), "another")
    b.open(data)


@pytest.mark.requirement("E4.sealed")
def test_each_byte_counts():
    a, b = wires()
    data = a.seal(b"hello", to=B, stream=1, number=1)
    for at in range(len(data)):
        refused(b, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        refused(b, data[:at])
    refused(b, data + b"x")
    assert b.open(data).plain == b"hello"


def test_without_our_key_nobody_says_or_reads_anything():
    _, b = wires("k1")
    stranger = Wire(a_ring(Given("k9")), here=A)
    source = Given("k9")
    source.ids = ["k1"]
    refused(b, stranger.seal(b"x", to=B, stream=1, number=1), "vault key")
    disguised = stranger.seal(b"x", to=B, stream=1, number=1).replace(b"k9", b"k1")
    refused(b, disguised, "vault key")


def test_names_of_keys_that_are_not_here_make_nobody_read_the_source_again_and_again():
    source = Given("k1")
    b = Wire(a_ring(source), here=B)
    stranger = Wire(a_ring(Given("k9")), here=A)
    for number in range(1, 50):
        refused(b, stranger.seal(b"x", to=B, stream=1, number=number))
    assert source.asked <= 2


def test_a_new_key_of_another_instance_is_found():
    source = Given("k1")
    b = Wire(a_ring(source), here=B)
    source.ids.insert(0, "k2")
    a = Wire(a_ring(Given("k2", "k1")), here=A)
    assert b.open(a.seal(b"x", to=B, stream=1, number=1)).plain == b"x"


def test_no_two_streams_share_a_key():
    """The number is the nonce: under one key, the same text would come out the same."""
    a, _ = wires()
    text = bytes(16)
    sealed = [a.seal(text, to=to, stream=stream, number=1) for to in (B, C, ALL) for stream in (1, 2)]
    sealed.append(Wire(a_ring(Given("k1")), here=End("a", "life-2")).seal(text, to=B, stream=1, number=1))
    assert len({each[-32:-16] for each in sealed}) == len(sealed)


def test_where_there_is_no_key_nothing_is_said():
    source = Given("k1")
    source.error = KeyUnavailable("none")
    with pytest.raises(KeyUnavailable):
        Wire(a_ring(source), here=A).seal(b"x", to=B, stream=1, number=1)
