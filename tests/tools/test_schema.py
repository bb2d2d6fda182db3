"""A function's signature and docstring become what a model may send, and come back as the function's own types."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

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
