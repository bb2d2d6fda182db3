"""A function's signature and docstring become what a model may send, and come back as the function's own types."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import functools
import json
import time
import typing
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import pytest
import typing_extensions
from pydantic import BaseModel, Field, field_validator

from valetkey.errors import InvalidArguments
from valetkey.tools.schema import describe

if TYPE_CHECKING:
    from decimal import Decimal as Unseen


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Point:
    x: int
    y: int = 2


class Filter(BaseModel):
    text: str


def search(
    count: int | None,
    mode: Literal["fast", "slow"],
    color: Color,
    at: Point,
    where: Filter,
    since: dt.datetime,
    tags: list[str] = [],  # noqa: B006
    *,
    limit: Annotated[int, Field(description="at most", ge=1)] = 3,
    thread_id: str = "",
    SEARCH_TOKEN: str = "",  # noqa: N803
    **kwargs: Any,
) -> None:
    """Search.

    Args:
        count: how many
        mode: how
    """


ARGUMENTS = {
    "count": None,
    "mode": "fast",
    "color": "red",
    "at": {"x": 1},
    "where": {"text": "a"},
    "since": "2026-01-02T03:04:05",
}


def signature():
    return describe(search, variables=frozenset({"SEARCH_TOKEN"}))


def test_modern_annotations_become_json_schema_and_come_back_as_their_own_types():
    bound = signature().bind(ARGUMENTS)
    assert bound == {
        "count": None,
        "mode": "fast",
        "color": Color.RED,
        "at": Point(1, 2),
        "where": Filter(text="a"),
        "since": dt.datetime(2026, 1, 2, 3, 4, 5),  # noqa: DTZ001
    }
    schema = signature().schema
    assert schema["required"] == ["count", "mode", "color", "at", "where", "since"]
    assert schema["properties"]["mode"]["enum"] == ["fast", "slow"]
    assert schema["properties"]["count"]["anyOf"] == [{"type": "integer"}, {"type": "null"}]
    assert schema["properties"]["limit"]["description"] == "at most"
    assert schema["additionalProperties"] is False


def test_no_credential_and_no_thread_id_is_in_a_schema_or_taken_from_a_model():
    found = signature()
    assert not {"SEARCH_TOKEN", "thread_id", "kwargs"} & set(found.schema["properties"])
    assert (found.variables, found.wants, found.takes_kwargs) == ({"SEARCH_TOKEN"}, {"thread_id"}, True)
    for name in ("SEARCH_TOKEN", "thread_id"):
        with pytest.raises(InvalidArguments, match=f"{name} is not a parameter"):
            found.bind({**ARGUMENTS, name: "x"})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"mode": "quick"}, "mode: Input should be 'fast' or 'slow', not str"),
        ({"at": {"x": "one"}}, r"at\.x: Input should be a valid integer"),
        ({"cuont": 3}, r"cuont is not a parameter\. Did you mean count\?"),
        ({"limit": 0}, "limit: Input should be greater than or equal to 1"),
        ({"tags": ["x" * 2_000_000]}, "larger than 1048576 characters"),
    ],
)
def test_arguments_that_do_not_fit_are_named_with_what_is_expected(change, told):
    with pytest.raises(InvalidArguments, match=told):
        signature().bind({**ARGUMENTS, **change})


def test_a_missing_argument_is_named_and_no_value_is_repeated():
    with pytest.raises(InvalidArguments, match="mode is missing") as wrong:
        signature().bind({"count": "hunter2hunter2"})
    assert "hunter2" not in str(wrong.value)


def test_defaults_stay_the_functions_own():
    sentinel = object()

    def go(a: int = 1, b: Any = sentinel) -> None:
        """Go."""

    assert describe(go).bind({}) == {}


def test_parameters_may_be_called_like_anything():
    def go(schema: int, copy: int, _private: int, model_config: int, class_: str = "x") -> None:
        """Go."""

    found = describe(go)
    given = {"schema": 1, "copy": 2, "_private": 3, "model_config": 4}
    assert found.bind(given) == given
    assert list(found.schema["properties"]) == ["schema", "copy", "_private", "model_config", "class_"]


def test_positional_only_parameters_are_handed_in_by_place():
    def go(a: int, b: int = 2, /, c: int = 3) -> tuple[int, int, int]:
        """Go."""
        return a, b, c

    found = describe(go)
    assert found.call(go, {"a": 1, "c": 9}) == (1, 2, 9)
    assert found.call(go, {"a": 1, "b": 5}) == (1, 5, 3)


def test_names_of_an_enclosing_function_are_resolved():
    class Local(BaseModel):
        x: int

    def go(a: Local) -> Local:
        """Go."""
        return Local(x=a.x)

    assert describe(go).bind({"a": {"x": 1}}) == {"a": Local(x=1)}


def test_an_annotation_that_cannot_be_used_is_an_error_at_once_that_names_the_parameter():
    def unseen(a: Unseen) -> None:
        """Go."""

    class Odd:
        pass

    def odd(a: int, b: Odd) -> Odd:
        """Go."""
        return Odd()

    with pytest.raises(InvalidArguments, match=r"'Unseen' of the parameter a cannot be resolved"):
        describe(unseen)
    with pytest.raises(InvalidArguments, match=r"the parameter b has a type"):
        describe(odd)


def test_an_unannotated_parameter_takes_anything():
    def go(a, b=None):
        """Go."""

    assert describe(go).bind({"a": [1, {"x": None}]}) == {"a": [1, {"x": None}]}


def get_slack_messages(channel: str, limit: int, **kwargs) -> list:
    """
    Fetch recent messages from a Slack channel.

    channel(str): slack channel name
    limit(int): message limit
    """
    return [channel, limit, kwargs]


def test_the_tool_of_the_first_seed_becomes_this_schema():
    found = describe(get_slack_messages)
    assert found.description == "Fetch recent messages from a Slack channel."
    assert found.schema == {
        "title": "Get_slack_messagesModel",
        "type": "object",
        "properties": {
            "channel": {"title": "Channel", "type": "string", "description": "slack channel name"},
            "limit": {"title": "Limit", "type": "integer", "description": "message limit"},
        },
        "required": ["channel", "limit"],
        "additionalProperties": False,
    }
    assert found.call(get_slack_messages, {**found.bind({"channel": "general", "limit": "10"}), "TOKEN": "t"}) == [
        "general",
        10,
        {"TOKEN": "t"},
    ]


def test_no_argument_goes_into_kwargs_unseen():
    with pytest.raises(InvalidArguments, match="kwargs is not a parameter"):
        describe(get_slack_messages).bind({"channel": "a", "limit": 1, "kwargs": {"SLACK_BOT_TOKEN": "x"}})
    with pytest.raises(InvalidArguments, match=r"connection_id is not a parameter\. It takes channel, limit\."):
        describe(get_slack_messages).bind({"channel": "a", "limit": 1, "connection_id": "x"})


class Person(typing.TypedDict):
    name: str
    friends: typing_extensions.NotRequired[list[Friend]]


class Friend(typing.TypedDict, total=False):
    since: dt.date
    name: typing_extensions.Required[str]


def test_a_typed_dictionary_is_taken_from_either_module():
    class Modern(typing_extensions.TypedDict):
        x: int

    def go(who: Person, others: list[Person] | None = None, m: Annotated[Modern, "modern"] | None = None) -> None:
        """Go."""

    found = describe(go)
    given = {"who": {"name": "A", "friends": [{"name": "B", "since": "2026-01-02"}]}, "others": [{"name": "C"}]}
    assert found.bind(given) == {
        "who": {"name": "A", "friends": [{"name": "B", "since": dt.date(2026, 1, 2)}]},
        "others": [{"name": "C"}],
    }
    assert found.schema["$defs"]["Person"]["required"] == ["name"]
    assert found.schema["$defs"]["Friend"]["required"] == ["name"]
    with pytest.raises(InvalidArguments, match=r"who\.friends\.0\.name is missing"):
        found.bind({"who": {"name": "A", "friends": [{}]}})


def test_types_of_the_standard_library_come_back_from_their_json():
    def go(
        day: dt.date, span: dt.timedelta, price: Decimal, key: UUID, data: bytes, pair: tuple[int, str], tags: set[str]
    ) -> None:
        """Go."""

    key = "0f0e0d0c-0b0a-4908-8706-050403020100"
    given = json.loads(
        f'{{"day": "2026-01-02", "span": "PT90S", "price": "1.10", "key": "{key}", "data": "abc", "pair": [1, "a"], '
        '"tags": ["a", "a"]}'
    )
    assert describe(go).bind(given) == {
        "day": dt.date(2026, 1, 2),
        "span": dt.timedelta(seconds=90),
        "price": Decimal("1.10"),
        "key": UUID(key),
        "data": b"abc",
        "pair": (1, "a"),
        "tags": {"a"},
    }


def test_a_program_may_give_the_values_themselves():
    given = {**ARGUMENTS, "color": Color.BLUE, "at": Point(3, 4), "where": Filter(text="b"), "since": dt.datetime.max}  # noqa: DTZ901
    assert signature().bind(MappingProxyType(given)) == given


def test_a_description_beside_the_annotation_goes_before_the_docstrings():
    def go(
        a: Annotated[int, "from the annotation"],
        b: Annotated[int, Field(description="from the field")],
        c: int = Field(3, ge=1, description="from the default"),
        d: int = 4,
        e: Annotated[int | None, Field(ge=1)] = None,
    ) -> tuple[int, int]:
        """Go.

        Args:
            a: no
            b: no
            c: no
            d: from the docstring
            e: from it too
        """
        return c, d

    found = describe(go)
    assert {name: part["description"] for name, part in found.schema["properties"].items()} == {
        "a": "from the annotation",
        "b": "from the field",
        "c": "from the default",
        "d": "from the docstring",
        "e": "from it too",
    }
    assert found.schema["properties"]["c"]["default"] == 3
    assert found.schema["required"] == ["a", "b"]
    # The function's own default is pydantic's Field: its value goes in for it.
    assert found.call(go, found.bind({"a": 1, "b": 2})) == (3, 4)
    with pytest.raises(InvalidArguments, match="c: Input should be greater than or equal to 1"):
        found.bind({"a": 1, "b": 2, "c": 0})


def test_a_default_of_none_makes_null_a_value():
    def go(a: int = None, b: Point = None, c: Any = None, d=None) -> None:  # type: ignore[assignment]  # noqa: RUF013
        """Go."""

    found = describe(go)
    assert found.bind({"a": None, "b": None, "c": None, "d": None}) == {"a": None, "b": None, "c": None, "d": None}
    assert found.bind({"a": "5", "b": {"x": 1}}) == {"a": 5, "b": Point(1)}


def test_a_default_that_json_cannot_show_is_left_out_of_the_schema():
    def go(
        a: Any = object(),  # noqa: B008
        b: Color = Color.BLUE,
        c: float = 1.5,
        d: Any = Field(object()),  # noqa: B008
    ) -> None:
        """Go."""

    properties = describe(go).schema["properties"]
    assert "default" not in properties["a"] | properties["d"]
    assert (properties["b"]["default"], properties["c"]["default"]) == ("blue", 1.5)


def test_what_the_host_fills_may_have_any_annotation():
    def go(q: str, profile: Unseen, thread_id: Unseen | None = None, TOKEN: Unseen | str = "") -> None:  # noqa: N803
        """Go.

        q(str): what to look for
        TOKEN(str): the canary's token
        profile: whose account
        """

    found = describe(go, variables=frozenset({"TOKEN", "OTHER"}))
    assert list(found.schema["properties"]) == ["q"]
    assert (set(found.variables), set(found.wants)) == ({"TOKEN"}, {"thread_id", "profile"})
    assert "canary" not in json.dumps(found.schema) + found.description
    assert describe(go, hidden=frozenset({"profile", "TOKEN", "thread_id"})).wants == {"profile", "TOKEN", "thread_id"}


class Tools:
    """Several tools."""

    def __call__(self, a: int) -> int:
        """Call it."""
        return a

    def method(self, a: int) -> int:
        """Do it."""
        return a

    @classmethod
    def made(cls, a: int) -> int:
        """Make it."""
        return a


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def test_methods_partials_and_decorated_functions_are_functions_too():
    for function in (Tools(), Tools().method, Tools.method, Tools.made, decorated(Tools().method)):
        assert list(describe(function).schema["properties"]) == ["a"]
    partial = describe(functools.partial(get_slack_messages, limit=3))
    assert (partial.name, partial.description) == ("get_slack_messages", "Fetch recent messages from a Slack channel.")
    assert partial.schema["required"] == ["channel"]
    assert describe(decorated(search)).bind(ARGUMENTS)["color"] is Color.RED
    assert describe(len).bind({"obj": [1]}) == {"obj": [1]}


async def later(a: Later) -> None:
    """Wait."""


class Later(BaseModel):
    x: int


def test_an_async_function_and_a_name_that_is_defined_later_are_no_trouble():
    assert describe(later).bind({"a": {"x": "1"}}) == {"a": Later(x=1)}


def test_names_of_an_enclosing_class_are_resolved():
    class Room:
        class Key(BaseModel):
            n: int

        def enter(self, key: Key) -> Key:
            return key

        described = describe(enter)

    assert Room.described.bind({"key": {"n": 1}}) == {"key": Room.Key(n=1)}


def nested(levels, around):
    value = None
    for _ in range(levels):
        value = around(value)
    return value


@pytest.mark.parametrize("given", [None, [], "{}", 5])
def test_arguments_are_an_object(given):
    with pytest.raises(InvalidArguments, match="must be an object, not"):
        signature().bind(given)


@pytest.mark.parametrize(
    "value",
    [
        nested(100, lambda inner: [inner]),
        nested(100, lambda inner: {"a": inner}),
        nested(40, lambda inner: [inner, inner]),
    ],
)
def test_arguments_nested_too_deep_or_repeated_too_often_are_refused(value):
    def go(a: Any) -> None:
        """Go."""

    with pytest.raises(
        InvalidArguments, match=r"a is nested deeper than 64 levels|with a the arguments are larger than 1048576"
    ):
        describe(go).bind({"a": value})


def test_large_arguments_within_the_limit_are_taken():
    def go(a: str, b: list[int]) -> None:
        """Go."""

    given: Mapping[str, object] = {"a": "x" * 900_000, "b": [1] * 10_000}
    assert describe(go).bind(given) == given
    with pytest.raises(InvalidArguments, match="with a the arguments are larger than"):
        describe(go).bind({"a": "x" * 1_048_577, "b": []})
    with pytest.raises(InvalidArguments, match="with b the arguments are larger than"):
        describe(go).bind({"a": "", "b": [1] * 1_100_000})
    with pytest.raises(InvalidArguments, match="larger than"):
        describe(go).bind({"a": "", "x" * 1_100_000: []})


CANARY = "sk-canary-" + "0123456789" * 20


class Strict(BaseModel):
    key: str

    @field_validator("key")
    @classmethod
    def check(cls, value: str) -> str:
        raise ValueError(f"{value.upper()} is not good, nor is {value}")


@pytest.mark.parametrize(
    "arguments",
    [
        {"n": CANARY, "s": {"key": "a"}},
        {"n": 1, "s": CANARY},
        {"n": 1, "s": {"key": CANARY}},
        {"n": 1, "s": {"key": "a", CANARY: "b"}, CANARY: 5},
        {"n": 1, "s": {"key": "a"}, "when": CANARY, "tag": {"kind": CANARY}},
    ],
)
def test_a_value_is_never_repeated_at_length(arguments):
    def go(n: int, s: Strict, when: dt.datetime | None = None, tag: Literal["a"] | None = None) -> None:
        """Go."""

    with pytest.raises(InvalidArguments) as refused:
        describe(go).bind(arguments)
    text = str(refused.value)
    longest = max(len(word) for word in text.replace(",", " ").split())
    assert longest <= 81
    assert CANARY not in text
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None


def test_a_tools_own_validator_may_not_repeat_a_value_either():
    def go(s: Strict) -> None:
        """Go."""

    with pytest.raises(InvalidArguments, match=r"s\.key: Value error") as refused:
        describe(go).bind({"s": {"key": "hunter2hunter2"}})
    assert "hunter2" not in str(refused.value)


def test_many_problems_are_counted_not_told():
    with pytest.raises(InvalidArguments) as refused:
        signature().bind({**ARGUMENTS, **{f"x{n}": n for n in range(50)}})
    assert "And 42 more." in str(refused.value)
    assert len(str(refused.value)) < 600


def test_an_argument_that_no_name_is_near_is_refused_without_a_guess():
    with pytest.raises(InvalidArguments, match=r"zzz is not a parameter\. It takes"):
        signature().bind({**ARGUMENTS, "zzz": 1})
    with pytest.raises(InvalidArguments, match=r"It takes nothing\.$"):
        describe(lambda: None).bind({"a": 1})


def test_postponed_text_within_an_annotation_is_resolved():
    def go(a: list["Later"], b: "dict[str, list[Later]]") -> None:  # noqa: UP037
        """Go."""

    assert describe(go).bind({"a": [{"x": 1}], "b": {"k": [{"x": 2}]}}) == {"a": [Later(x=1)], "b": {"k": [Later(x=2)]}}


@pytest.mark.parametrize("annotation", ["not a type", "Nowhere.At.All", "dt.nothing", "list[", 5])
def test_what_is_no_annotation_is_named(annotation):
    def go(fine: int, wrong: Any) -> None:
        """Go."""

    go.__annotations__["wrong"] = annotation
    with pytest.raises(InvalidArguments, match="the parameter wrong") as refused:
        describe(go)
    assert str(annotation) in str(refused.value)


def test_an_annotation_of_the_result_is_not_looked_at():
    def go(a: int) -> Nowhere:  # type: ignore[name-defined]  # noqa: F821
        """Go."""

    assert describe(go).bind({"a": 1}) == {"a": 1}


def test_two_simple_arguments_are_bound_in_a_few_microseconds():
    def go(channel: str, limit: int = 10) -> None:
        """Go."""

    found, given = describe(go), {"channel": "general", "limit": 10}

    def fastest(work):
        seconds = []
        for _ in range(3000):
            begun = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - begun)
        return min(seconds)

    # About 3 µs against 4 µs on the machine it was made on; the bound is 10 µs.
    assert fastest(lambda: found.bind(given)) < 3 * fastest(lambda: json.dumps(["abc", 1] * 20))
