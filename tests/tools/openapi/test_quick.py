"""What is taken at a glance would be taken by the whole judge as well, and ordinary arguments are."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valetkey.errors import InvalidArguments
from valetkey.tools.openapi.quick import Quick
from valetkey.tools.openapi.validate import check

WORDS = ("", "x", "xy", "xyz", "é", "\ud800", "x" * 20_000)
NUMBERS = (-1, 0, 1, 2, 2.0, 2.5, math.inf, math.nan, 2**2000)
VALUES: st.SearchStrategy[object] = st.sampled_from([*WORDS, *NUMBERS, True, False, None, [], ["x"], {}, b"x"])
KINDS = st.sampled_from(["string", "integer", "number", "boolean", "null", "array", "object"])
PLAIN = st.one_of(
    st.sampled_from([True, False, {}]),
    st.fixed_dictionaries(
        {},
        optional={
            "type": KINDS | st.lists(KINDS, min_size=1, max_size=3),
            "enum": st.lists(st.sampled_from(["x", "xy", 1, True, None]), min_size=1),
            "const": st.sampled_from(["x", 1]),
            "minLength": st.integers(0, 3),
            "maxLength": st.integers(0, 3),
            "pattern": st.sampled_from(["^x$", "y"]),
            "minimum": st.integers(-1, 3),
            "exclusiveMaximum": st.sampled_from([1, 2.5]),
            "multipleOf": st.sampled_from([2, 0.5]),
            "items": st.just({"type": "integer"}),
            "$ref": st.sampled_from(["#/$defs/Word", "#/$defs/Again", "#/$defs/Nowhere"]),
            "description": st.just("told"),
        },
    ),
)
SCHEMAS = st.recursive(
    PLAIN,
    lambda inner: st.builds(
        lambda schema, key, parts: {**(schema if isinstance(schema, dict) else {}), key: parts},
        PLAIN,
        st.sampled_from(["anyOf", "oneOf", "allOf"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=2,
)
DEFINITIONS = {"Word": {"type": "string", "maxLength": 2}, "Again": {"$ref": "#/$defs/Again"}}


@settings(max_examples=300)
@given(
    properties=st.dictionaries(st.sampled_from("abc"), SCHEMAS, max_size=2),
    required=st.lists(st.sampled_from("abc"), unique=True),
    more=st.sampled_from(
        [{}, {"additionalProperties": False}, {"maxProperties": 1}, {"propertyNames": {"enum": ["a"]}}]
    ),
    arguments=st.dictionaries(st.sampled_from(["a", "b", "c", "d", 1]), VALUES, max_size=3),
)
def test_what_is_sure_is_refused_by_nobody(properties, required, more, arguments):
    schema = {"type": "object", "properties": properties, "required": required, "$defs": DEFINITIONS, **more}
    if Quick(schema).sure(arguments):
        check("t", arguments, schema)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "\ud800"),
        ({"type": "string", "anyOf": [{"pattern": "^y"}, {"const": "z"}]}, "x"),
        ({"type": "string", "$ref": "#/$defs/Again"}, "x"),
        ({"type": "string", "$ref": "#/$defs/Word"}, "xyz"),
        ({"type": "integer"}, 2**2000),
        ({"type": "number"}, math.nan),
        ({"type": ["string", "integer"], "maximum": 1}, 2),
        (True, b"x"),
    ],
)
def test_what_the_whole_judge_refuses_is_not_sure(schema, value):
    whole = {"type": "object", "properties": {"a": schema}, "$defs": DEFINITIONS}
    assert not Quick(whole).sure({"a": value})
    with pytest.raises(InvalidArguments):
        check("t", {"a": value}, whole)


def test_arguments_as_a_model_gives_them_are_taken_at_a_glance():
    schema = {
        "type": "object",
        "properties": {
            "id": {"type": "integer", "minimum": 1, "description": "which"},
            "q": {"type": "string", "minLength": 1, "maxLength": 50},
            "size": {"type": "string", "enum": ["s", "m"], "default": "m"},
            "price": {"anyOf": [{"type": "number"}, {"type": "null"}]},
            "word": {"$ref": "#/$defs/Word"},
        },
        "required": ["id"],
        "additionalProperties": False,
        "$defs": DEFINITIONS,
    }
    quick = Quick(schema)
    assert quick.sure({"id": 7})
    assert quick.sure({"id": 7, "q": "a b", "size": "s", "price": None, "word": "hi"})
    for wrong in (
        {},
        {"id": 0},
        {"id": True},
        {"id": "7"},
        {"id": 7, "q": ""},
        {"id": 7, "size": "l"},
        {"id": 7, "x": 1},
    ):
        assert not quick.sure(wrong), wrong
        with pytest.raises(InvalidArguments):
            check("t", wrong, schema)


def test_more_than_a_model_writes_is_left_to_the_whole_judge():
    names = [f"a{number}" for number in range(100)]
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
    arguments = dict.fromkeys(names, "x" * 11000)
    assert not Quick(schema).sure(arguments)
    with pytest.raises(InvalidArguments, match="larger than"):
        check("t", arguments, schema)
