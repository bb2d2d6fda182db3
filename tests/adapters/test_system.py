"""The real clock and the real randomness."""

import base64
import time

from valetkey.adapters.system import SystemClock, SystemEntropy
from valetkey.ports.world import Clock, Entropy


def test_it_tells_the_machines_time():
    clock: Clock = SystemClock()
    assert time.time() - 1 <= clock.now() <= time.time() + 1
    assert time.monotonic() - 1 <= clock.monotonic() <= time.monotonic() + 1


async def test_it_waits_as_long_as_asked():
    clock = SystemClock()
    began = time.monotonic()
    await clock.sleep(0.02)
    assert time.monotonic() - began >= 0.019


def test_a_token_is_that_many_bytes_in_base64url():
    entropy: Entropy = SystemEntropy()
    for size in (16, 32, 33, 48):
        token = entropy.token(size)
        assert "=" not in token
        assert len(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))) == size
    assert len(entropy.bytes(12)) == 12


def test_no_two_draws_are_equal():
    entropy = SystemEntropy()
    assert len({entropy.token() for _ in range(10_000)}) == 10_000
    assert len({entropy.bytes(16) for _ in range(10_000)}) == 10_000
