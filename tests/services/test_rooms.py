"""Room for messages that are not whole yet: what one takes, others do not lack."""

from __future__ import annotations

from typing import Any

import pytest

from valetkey.errors import RateLimited
from valetkey.model.caller import Caller, Owner
from valetkey.model.users import UserInfo
from valetkey.services import rooms
from valetkey.services.rooms import Rooms, Share
from valetkey.services.sight import Who

WHOLE = 100


def who(name: str, *, address: str = "203.0.113.5", known: bool = True) -> Who:
    user = UserInfo(id=name, roles=[], is_anonymous=not known)
    caller = Caller(owner=Owner(workspace=f"ws-{name}", issuer="here", subject=name), how="token", user=user)
    return Who(caller=caller, workspace=f"ws-{name}", address=address, peer=f"ws-{name}/c1")


def filled(share: Share) -> int:
    """How many whole messages it takes, one after the other."""
    for count in range(rooms.MOST + 1):
        try:
            share.take(WHOLE)
        except RateLimited:
            return count
    return -1


@pytest.mark.requirement("E1.caps")
def test_all_whom_nobody_knows_have_a_quarter_and_one_address_less() -> None:
    there = Rooms(whole=WHOLE)
    got = [filled(there.of(who(f"u{number}", known=False, address=f"198.51.100.{number % 3}"))) for number in range(9)]
    assert got[:3] == [rooms.OF_ONE_UNKNOWN, rooms.OF_ONE_UNKNOWN, 0]
    assert sum(got) == rooms.OF_ALL_UNKNOWN <= rooms.MOST // 4
    assert filled(there.of(who("ada", address="198.51.100.0"))) == rooms.OF_A_USER


def test_a_user_and_an_address_have_a_share_and_get_it_back() -> None:
    there = Rooms(whole=WHOLE)
    first = there.of(who("ada"))
    assert filled(first) == rooms.OF_A_USER
    again: Any = there.of(who("ada", address="192.0.2.1"))  # the same user from elsewhere
    assert filled(again) == 0
    others = [filled(there.of(who(name))) for name in ("bob", "eve", "cyd")]
    assert sum(others) == rooms.OF_AN_ADDRESS - rooms.OF_A_USER
    first.give(rooms.OF_A_USER * WHOLE)
    assert filled(again) == rooms.OF_A_USER
    assert there.used == rooms.OF_AN_ADDRESS * WHOLE
