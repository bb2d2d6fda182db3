"""The caller's own token, for exchanging it: who has one, and where it never shows."""

import pickle
from dataclasses import replace

import pytest

from valetkey.adapters.local_messages import LocalWakeups
from valetkey.adapters.memory_tokens import MemoryStops
from valetkey.identity.chain import Chain, Vouch
from valetkey.model.caller import Caller, Owner
from valetkey.model.calls import Presented
from valetkey.secret import Secret
from valetkey.stops import Stops
from valetkey.testing.clock import ManualClock

OWNER = Owner(workspace="w", issuer="https://idp.test", subject="ada")
TOKEN = "inbound-canary-3f"


class Knows:
    def __init__(self, *, exchangeable: bool, keep: float = 60.0) -> None:
        self.exchangeable = exchangeable
        self.keep = keep
        self.times = 0

    async def verify(self, presented: Presented) -> Vouch:
        self.times += 1
        return Vouch(owner=OWNER, how="x", until=1e12, token="id-1", keep=self.keep, exchangeable=self.exchangeable)


def chain(verifier: Knows) -> Chain:
    clock = ManualClock()
    return Chain([verifier], stops=Stops(store=MemoryStops(), clock=clock, wakeups=LocalWakeups()), clock=clock)


async def test_the_token_is_with_the_caller_who_presents_it_and_is_remembered_nowhere():
    verifier = Knows(exchangeable=True)
    asked = chain(verifier)
    presented = Presented(scheme="bearer", value=Secret(TOKEN))
    for _ in range(2):
        caller = await asked.identify(presented)
        assert caller.bearer is not None
        assert caller.bearer.matches(TOKEN)
    assert verifier.times == 1, "the second one was remembered"
    kept = [entry[0] for entry in asked._remembered.values()] + list(asked._counted.values())
    assert [each.bearer for each in kept] == [None]


async def test_no_other_kind_of_credential_is_one():
    for exchangeable, scheme in (
        (False, "bearer"),
        (True, "session"),
        (True, "ticket"),
        (True, "host"),
        (True, "dpop"),
    ):
        caller = await chain(Knows(exchangeable=exchangeable)).identify(Presented(scheme=scheme, value=TOKEN))
        assert caller.bearer is None, scheme


def test_it_neither_prints_nor_pickles_nor_tells_two_callers_apart():
    caller = Caller(owner=OWNER, how="x", bearer=Secret(TOKEN))
    assert TOKEN not in f"{caller!r} {caller} {caller.bearer!r}"
    assert "bearer" not in repr(caller)
    assert caller == replace(caller, bearer=None)
    assert hash(caller) == hash(replace(caller, bearer=Secret("another")))
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(caller)
