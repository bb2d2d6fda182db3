"""open, claimed, answered, settling, done; refused, expired, failed: one table of states and events."""

from __future__ import annotations

from enum import StrEnum

from valetkey.errors import InvalidAuthState
from valetkey.model.interactions import Phase


class Event(StrEnum):
    """What can happen to an interaction."""

    CLAIM = "claim"
    """A browser made itself the one that may answer."""
    ANSWER = "answer"
    """The person brought back what was asked for."""
    ARRIVE = "arrive"
    """The provider itself answered, without a browser."""
    ASK = "ask"
    """What was obtained is for another account than expected: the person is asked once more."""
    AGREE = "agree"
    """The person said yes to it."""
    SETTLE = "settle"
    """A process began to act on the answer; only one ever does."""
    FINISH = "finish"
    """The answer was acted on."""
    RETRY = "retry"
    """Acting on it surely had no effect yet: it may be tried again."""
    REFUSE = "refuse"
    """The person, or the provider for them, said no."""
    EXPIRE = "expire"
    """Nobody answered in time, or the question was withdrawn."""
    FAIL = "fail"
    """Acting on the answer failed, or ended unclear: it is never repeated."""


TRANSITIONS: dict[Phase, dict[Event, Phase]] = {
    Phase.OPEN: {
        Event.CLAIM: Phase.CLAIMED,
        Event.ANSWER: Phase.ANSWERED,
        Event.ARRIVE: Phase.ANSWERED,
        Event.AGREE: Phase.ANSWERED,
        Event.REFUSE: Phase.REFUSED,
        Event.EXPIRE: Phase.EXPIRED,
    },
    Phase.CLAIMED: {
        Event.CLAIM: Phase.CLAIMED,  # the owner goes on in another browser: the one before may answer no more
        Event.ANSWER: Phase.ANSWERED,
        Event.ARRIVE: Phase.ANSWERED,
        Event.AGREE: Phase.ANSWERED,
        Event.REFUSE: Phase.REFUSED,
        Event.EXPIRE: Phase.EXPIRED,
    },
    Phase.ANSWERED: {
        Event.SETTLE: Phase.SETTLING,
        Event.EXPIRE: Phase.EXPIRED,
    },
    Phase.SETTLING: {
        Event.FINISH: Phase.DONE,
        Event.RETRY: Phase.ANSWERED,
        Event.ASK: Phase.OPEN,
        Event.REFUSE: Phase.REFUSED,
        Event.FAIL: Phase.FAILED,
    },
    Phase.DONE: {},
    Phase.REFUSED: {},
    Phase.EXPIRED: {},
    Phase.FAILED: {},
}

WAITING = frozenset({Phase.OPEN, Phase.CLAIMED})
"""A person has still to answer."""

RESOLVED = frozenset({Phase.ANSWERED, Phase.SETTLING})
"""The answer is there, and has still to be acted on."""

ENDED = frozenset(phase for phase, events in TRANSITIONS.items() if not events)
"""Nothing happens to it any more."""


def after(phase: Phase, event: Event) -> Phase:
    """The phase that follows.

    Raises:
        InvalidAuthState: the event has no place in that phase.
    """
    following = TRANSITIONS[phase].get(event)
    if following is None:
        raise InvalidAuthState(
            f"This question is {phase}: '{event}' does not follow from that. Start again to get a new link."
        )
    return following
