"""Asked again, then another one: which failures, how often, after how long; and what the person is told."""

from collections.abc import AsyncIterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from tests.models.talking import call, person, pieces
from valetkey.entrypoints.chat.model import ANSWERED, LONGEST_WAIT, Resilient, apology
from valetkey.errors import ModelError
from valetkey.ports.agents import Message, ModelFault, ToolCall

BUSY, REFUSED = ModelFault.BUSY, ModelFault.REFUSED
PASSING = (ModelFault.BUSY, ModelFault.UNAVAILABLE, ModelFault.TIMEOUT)


class Scripted:
    """Answers as the script says: a fault is raised, anything else is a piece."""

    def __init__(self, model_id: str, *answers: Sequence[str | ToolCall | ModelFault]) -> None:
        self.model_id = model_id
        self.answers = list(answers)
        self.asked: list[tuple[Any, ...]] = []
        self.ended = 0
        self.closed = False

    async def answer(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, system: str, stream: bool
    ) -> AsyncIterator[str | ToolCall]:
        self.asked.append((messages, tools, system, stream))
        try:
            for piece in self.answers.pop(0):
                if isinstance(piece, ModelFault):
                    raise ModelError(f"{self.model_id} is {piece}", fault=piece)
                yield piece
        finally:
            self.ended += 1

    async def close(self) -> None:
        self.closed = True


class Waits:
    """A clock that notes how long it was asked to sleep."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class Dice:
    def __init__(self, octet: int = 0) -> None:
        self.octet = octet

    def bytes(self, size: int) -> bytes:
        return bytes([self.octet]) * size

    def token(self, size: int = 32) -> str:
        return ""


def resilient(
    primary: Scripted, fallback: Scripted | None = None, *, clock: Waits | None = None, **settings: Any
) -> Resilient:
    chosen = {"retries": 3, "delay": 1.0, "exponential": True, "entropy": Dice(), **settings}
    return Resilient(primary, fallback, clock=clock or Waits(), **chosen)


async def test_an_answer_passes_as_it_is():
    primary, clock = Scripted("a", ["It ", "is.", call(1)]), Waits()
    model = resilient(primary, clock=clock)
    assert await pieces(model, tools=[], system="S", stream=True) == ["It ", "is.", call(1)]
    assert primary.asked[0][1:] == ([], "S", True)
    assert (clock.slept, model.model_id) == ([], "a")


@pytest.mark.requirement("chat.model-retries")
@pytest.mark.parametrize("fault", PASSING)
async def test_what_may_pass_is_asked_again_after_a_wait_that_doubles(fault):
    primary, clock = Scripted("a", [fault], [fault], [fault], ["Hi."]), Waits()
    assert await pieces(resilient(primary, clock=clock)) == ["Hi."]
    assert clock.slept == [1.0, 2.0, 4.0]
    assert primary.ended == 4


@pytest.mark.requirement("chat.model-retries")
@pytest.mark.parametrize("fault", sorted(set(ModelFault) - set(PASSING)))
async def test_what_does_not_pass_is_not_asked_again(fault):
    primary, clock = Scripted("a", [fault], ["Hi."]), Waits()
    with pytest.raises(ModelError) as caught:
        await pieces(resilient(primary, clock=clock))
    assert (caught.value.fault, len(primary.asked), clock.slept) == (fault, 1, [])


@pytest.mark.requirement("chat.model-retries")
async def test_waits_are_shortened_by_chance_and_have_an_end():
    clock = Waits()
    primary = Scripted("a", *[[BUSY] for _ in range(9)])
    with pytest.raises(ModelError):
        await pieces(resilient(primary, clock=clock, retries=8, entropy=Dice(0x80)))
    assert clock.slept[:2] == [pytest.approx(0.75, abs=0.01), pytest.approx(1.5, abs=0.01)]
    assert max(clock.slept) <= LONGEST_WAIT
    steady = Waits()
    with pytest.raises(ModelError):
        await pieces(resilient(Scripted("a", [BUSY], [BUSY], [BUSY]), clock=steady, retries=2, exponential=False))
    assert steady.slept == [1.0, 1.0]


async def test_without_retries_it_is_asked_once():
    primary = Scripted("a", [BUSY], ["Hi."])
    with pytest.raises(ModelError):
        await pieces(resilient(primary, retries=0))
    assert len(primary.asked) == 1


@pytest.mark.requirement("chat.model-retries")
@pytest.mark.parametrize("fault", sorted(ModelFault))
async def test_the_fallback_is_asked_whatever_the_fault(fault):
    primary, fallback = Scripted("a", [fault], [fault]), Scripted("b", [BUSY], ["From b."])
    assert await pieces(resilient(primary, fallback, retries=1)) == ["From b."]
    assert ANSWERED.get() == "b"
    assert len(primary.asked) == (2 if fault in PASSING else 1)


async def test_when_none_answers_the_last_error_is_told():
    with pytest.raises(ModelError, match="b is refused"):
        await pieces(resilient(Scripted("a", [BUSY]), Scripted("b", [REFUSED]), retries=0))


@pytest.mark.requirement("chat.model-retries")
async def test_nothing_is_asked_again_once_a_piece_came():
    primary, fallback, clock = Scripted("a", ["It ", BUSY], ["Hi."]), Scripted("b", ["From b."]), Waits()
    answer = resilient(primary, fallback, clock=clock).answer([person("a")], [], system="", stream=True)
    assert await anext(answer) == "It "
    with pytest.raises(ModelError, match="a is busy"):
        await anext(answer)
    assert (fallback.asked, clock.slept, len(primary.asked)) == ([], [], 1)


@pytest.mark.requirement("D.model-cancel")
async def test_giving_up_gives_up_the_model_at_once():
    primary = Scripted("a", ["It ", "is."])
    answer = resilient(primary).answer([person("a")], [], system="", stream=True)
    assert await anext(answer) == "It "
    await answer.aclose()  # type: ignore[attr-defined]  # ours is a generator
    assert primary.ended == 1


@pytest.mark.requirement("D.model-cancel")
async def test_both_are_closed():
    primary, fallback = Scripted("a"), Scripted("b")
    await resilient(primary, fallback).close()
    assert primary.closed
    assert fallback.closed


@pytest.mark.requirement("chat.model-apology", "fault.health")
@pytest.mark.parametrize(
    ("fault", "beginning"),
    [
        (ModelFault.BUSY, "I'm receiving too many requests right now. Please wait"),
        (ModelFault.TIMEOUT, "I'm taking longer than usual to respond. Please try again"),
        (ModelFault.REFUSED, "I don't have access to that model or service"),
        (ModelFault.UNAVAILABLE, "I'm experiencing technical difficulties"),
        (
            ModelFault.TOO_LONG,
            "I'm sorry, I'm having trouble processing your request right now. The conversation may be too",
        ),
        (ModelFault.INVALID, "I'm having trouble with the AI model"),
    ],
)
def test_the_person_is_told_what_to_do_and_nothing_of_the_operators(fault, beginning):
    error = ModelError("The model us.x wants bedrock:InvokeModel.", fault=fault)
    told = apology(error, SimpleNamespace(graceful_degradation=True))
    assert told.startswith(beginning)
    assert "lease" in told  # it says what to do
    assert "us.x" not in told
    assert apology(error, SimpleNamespace(graceful_degradation=False)) == "The model us.x wants bedrock:InvokeModel."
