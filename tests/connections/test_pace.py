"""When to refresh ahead, and when to try again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.connections.kit import Dice
from valetkey.connections.pace import believed, pause, soft_expiry
from valetkey.model.connections import Credential, Grant
from valetkey.secret import Secret

NOW = 1_750_000_000.0


@pytest.mark.requirement("B1.window")
@pytest.mark.parametrize(
    ("life", "earliest", "latest"),
    [
        # security-cases 2.1: max(60 s, 20 %), at most 15 min, never more than half; jitter of a fifth.
        (3600, 864, 576),
        (86_400, 1080, 720),
        (600, 144, 96),
        (300, 72, 48),
        (120, 60, 48),
        (100, 50, 48),
        (60, 30, 30),
        (10, 5, 5),
    ],
)
def test_a_token_is_refreshed_ahead_within_its_window(life, earliest, latest):
    ahead = [life - (soft_expiry(issued_at=NOW, expires_at=NOW + life, entropy=Dice(f)) - NOW) for f in (0, 1 - 2**-48)]
    assert ahead == [pytest.approx(latest, abs=1e-3), pytest.approx(earliest, abs=1e-3)]


@pytest.mark.requirement("B1.window")
@given(life=st.floats(0, 1e9), fraction=st.floats(0, 1, exclude_max=True))
def test_never_in_the_first_half_of_its_life_nor_after_its_end(life, fraction):
    at = soft_expiry(issued_at=NOW, expires_at=NOW + life, entropy=Dice(fraction)) - NOW
    assert life / 2 - 1e-3 <= at <= life


@pytest.mark.requirement("T-06.backoff")
@pytest.mark.parametrize(("failures", "longest"), [(1, 2), (2, 4), (3, 8), (8, 256), (9, 300), (10_000, 300)])
def test_a_pause_is_anything_from_a_second_to_twice_the_last(failures, longest):
    assert pause(failures, Dice(0)) == 1
    assert pause(failures, Dice(1 - 2**-48)) == pytest.approx(longest)
    assert pause(failures, Dice(0.5)) == pytest.approx((1 + longest) / 2)


@pytest.mark.parametrize(
    ("token", "life", "used"),
    [
        # T-18: the old token again, or one that has ended already, is not asked for again before 30 s.
        ("old", 5, 30),
        ("old", 0, 30),
        ("old", -3600, 30),
        ("old", 3600, 3600),
        ("new", 0.5, 30),
        ("new", 0, 30),
        ("new", -3600, 30),
        ("new", 1, 1),
        ("new", 5, 5),
        ("new", 3600, 3600),
        ("new", None, None),
        ("old", None, None),
    ],
)
def test_a_token_that_says_nothing_new_is_used_for_a_while(token, life, used):
    grant = Grant(credential=Credential(access_token=Secret(token)), expires_at=None if life is None else NOW + life)
    until = believed(grant, Credential(access_token=Secret("old")), NOW)
    assert until == (None if used is None else NOW + used)
