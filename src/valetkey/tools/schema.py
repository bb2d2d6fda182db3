"""A signature and its docstring to a JSON schema, and arguments back."""

from __future__ import annotations

import difflib
import functools
import inspect
import operator
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from types import CodeType, SimpleNamespace, UnionType
from typing import Annotated, Any, ClassVar, Literal, NotRequired, Required, Union, get_args, get_origin

import typing_extensions
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUndefinedAnnotation, PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind
from pydantic_core import ErrorDetails, to_jsonable_python
from pydantic_core.core_schema import ErrorType

from valetkey.errors import InvalidArguments
from valetkey.tools import docstrings

HIDDEN = frozenset({"thread_id", "profile"})
"""Parameters that the host program fills: in no schema, whoever declares them."""

_LARGEST = 1_048_576  # characters of all arguments, about as JSON
_DEEPEST = 64  # levels of nesting
_LONGEST = 80  # characters repeated of what a caller, or a tool's own validator, wrote
_MOST = 8  # problems told at once
# What pydantic raises for a type that it cannot take; TypeError for what is no type.
_UNUSABLE = (PydanticUserError, PydanticUndefinedAnnotation, PydanticInvalidForJsonSchema, NameError, TypeError)
# Errors whose text pydantic wrote, without the value.
_PYDANTIC = frozenset(get_args(ErrorType)) - {"value_error", "assertion_error", "union_tag_invalid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """How a function is called by a model.

    Attributes:
        name: the function's.
        description: its docstring, without what that says of parameters.
        schema: JSON schema of the arguments that a model may send.
        takes_kwargs: whether it has ``**kwargs``.
        variables: those of its parameters that take a credential.
        wants: those of its parameters that the host program fills.
    """

    name: str
    description: str
    schema: dict[str, Any]
    takes_kwargs: bool
    variables: frozenset[str]
    wants: frozenset[str]
    _positional: dict[str, object] = field(repr=False)
    _validate: Callable[[dict[str, object]], dict[str, object]] = field(repr=False)

    def bind(self, arguments: Mapping[str, object]) -> dict[str, object]:
        """The arguments that were given, validated, as values of the annotated types.

        What was not given is left out: its default stays the function's own.

        Raises:
            InvalidArguments: some do not fit, are missing, unknown, too large or nested too deep; names each.
        """
        if not isinstance(arguments, Mapping):
            raise InvalidArguments(f"{self.name}: the arguments must be an object, not {type(arguments).__name__}.")
        _check_size(self.name, arguments)
        try:
            return self._validate(dict(arguments))
        except ValidationError as error:
            errors = error.errors(include_url=False, include_context=False)
        # Outside the handler: pydantic's own error repeats the values, and must not be chained.
        known = list(self.schema["properties"])
        told = [_problem(error, known) for error in errors[:_MOST]]
        more = [f"And {len(errors) - _MOST} more."] if len(errors) > _MOST else []
        takes = ", ".join(known) or "nothing"
        raise InvalidArguments(f"{self.name}: {' '.join([*told, *more])} It takes {takes}.")

    def call(self, function: Callable[..., Any], values: Mapping[str, object]) -> Any:
        """Call the function with values by name; those of positional-only parameters go by their place."""
        if not self._positional:
            return function(**values)
        places = [values.get(name, default) for name, default in self._positional.items()]
        return function(*places, **{name: value for name, value in values.items() if name not in self._positional})


def describe(
    function: Callable[..., Any], *, variables: frozenset[str] = frozenset(), hidden: frozenset[str] = HIDDEN
) -> Signature:
    """Read a function's signature and docstring.

    ``*args``, ``**kwargs``, ``self`` and ``cls``, parameters named like a credential's variable, and hidden ones are
    not in the schema.

    Args:
        function: sync or async; its annotations may be postponed.
        variables: the names that credentials are lent under.
        hidden: the names that the host program fills.

    Raises:
        InvalidArguments: an annotation that cannot be resolved, or has no JSON schema; names it and its parameter.
    """
    parameters = inspect.signature(function).parameters
    written = function.func if isinstance(function, functools.partial) else function
    name = getattr(written, "__name__", type(written).__name__)
    takes_kwargs = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    named = _named(parameters)
    documented = docstrings.parse(inspect.getdoc(written), set(parameters))
    hints: dict[str, Any] = {}
    defaults: dict[str, object] = {}
    for parameter in named.values():
        if parameter.name not in variables | hidden:
            hint = _supported(_resolved(function, name, parameter))
            hint, default = _field(hint, parameter.default, documented.parameters.get(parameter.name))
            hints[parameter.name] = hint
            if default is not parameter.empty:
                defaults[parameter.name] = default
    adapter, schema = _adapter(name, hints, defaults)
    by_place = (parameter for parameter in named.values() if parameter.kind is parameter.POSITIONAL_ONLY)
    positional = {parameter.name: defaults.get(parameter.name, parameter.default) for parameter in by_place}
    return Signature(
        name=name,
        description=documented.text,
        schema=schema,
        takes_kwargs=takes_kwargs,
        variables=variables & named.keys(),
        wants=(hidden & named.keys()) - variables,
        _positional=positional,
        _validate=adapter.validator.validate_python,
    )


def _named(parameters: Mapping[str, inspect.Parameter]) -> dict[str, inspect.Parameter]:
    """Those that can be given one by one; not the receiver of a method that is not bound."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = {name: parameter for name, parameter in parameters.items() if parameter.kind not in variadic}
    first = next(iter(named), "")
    if first in {"self", "cls"}:
        del named[first]
    return named


# A class made at run time, which a type checker has no name for.
_typed_dict: Any = typing_extensions.TypedDict


class _Generator(GenerateJsonSchema):
    ignored_warning_kinds: ClassVar[set[JsonSchemaWarningKind]] = {"skipped-choice", "non-serializable-default"}  # type: ignore[misc]


def _adapter(name: str, hints: dict[str, Any], defaults: dict[str, object]) -> tuple[TypeAdapter[Any], dict[str, Any]]:
    """What validates the arguments, and their schema."""
    try:
        adapter, schema = _built(hints, defaults)
    except _UNUSABLE:
        for parameter, hint in hints.items():
            try:
                _built({parameter: hint}, {})
            except _UNUSABLE as error:
                shown = hint.__origin__ if get_origin(hint) is Annotated else hint
                raise InvalidArguments(
                    f"{name}: the parameter {parameter} has a type that no JSON can be made into, {shown!r}. "
                    "Use a JSON type, a pydantic model, a dataclass, an enum or a Literal."
                ) from error
        raise
    for parameter, default in defaults.items():
        try:
            schema["properties"][parameter].setdefault("default", to_jsonable_python(default))
        except (ValueError, TypeError):
            continue  # it is used all the same; JSON cannot show it
    return adapter, {"title": f"{name.capitalize()}Model", **schema}


def _built(hints: dict[str, Any], defaults: Mapping[str, object]) -> tuple[TypeAdapter[Any], dict[str, Any]]:
    fields = {name: NotRequired[hint] if name in defaults else hint for name, hint in hints.items()}
    adapter: TypeAdapter[Any] = TypeAdapter(with_config(ConfigDict(extra="forbid"))(_typed_dict("Arguments", fields)))
    schema = adapter.json_schema(schema_generator=_Generator)
    del schema["title"]
    return adapter, schema


def _field(hint: Any, default: Any, description: str | None) -> tuple[Any, object]:
    """The annotation with its description, and the default as the function has it."""
    if isinstance(default, FieldInfo):
        hint = Annotated[hint, default]
        default = inspect.Parameter.empty if default.is_required() else default.get_default(call_default_factory=True)
    metadata = getattr(hint, "__metadata__", ())
    own = [item.description for item in metadata if isinstance(item, FieldInfo) and item.description]
    own += [item for item in metadata if isinstance(item, str)]
    base = hint.__origin__ if metadata else hint
    if default is None and base is not Any and base is not object and type(None) not in (base, *get_args(base)):
        hint = hint | None
    text = own[-1] if own else description
    return (Annotated[hint, Field(description=text)] if text else hint), default


def _resolved(function: Callable[..., Any], name: str, parameter: inspect.Parameter) -> Any:
    """The annotation itself, where it may be text or have text in it (PEP 563)."""
    if parameter.annotation is parameter.empty:
        return Any
    plain = _plain(function)
    reason: Exception | None = None
    for names in _scopes(plain):
        try:
            holder = SimpleNamespace(__annotations__={"it": parameter.annotation})
            return typing.get_type_hints(holder, getattr(plain, "__globals__", {}), names, include_extras=True)["it"]
        except (NameError, SyntaxError, TypeError, AttributeError, LookupError) as error:
            reason = reason or error
    raise InvalidArguments(
        f"{name}: the annotation {parameter.annotation!r} of the parameter {parameter.name} cannot be resolved "
        f"({reason}). Import or define that name where the function is, outside of `if TYPE_CHECKING`."
    ) from reason


def _supported(hint: Any, inside: tuple[Any, ...] = ()) -> Any:
    """The annotation with ``typing_extensions.TypedDict``: pydantic takes the standard library's from 3.12 on only."""
    if sys.version_info >= (3, 12) or hint in inside:
        return hint
    if typing.is_typeddict(hint):
        members: dict[str, Any] = {}
        for name, member in typing.get_type_hints(hint, include_extras=True).items():
            told = get_origin(member)
            kept = _supported(get_args(member)[0] if told in {Required, NotRequired} else member, (*inside, hint))
            is_required = told is Required or (told is not NotRequired and name in hint.__required_keys__)
            members[name] = kept if is_required else NotRequired[kept]
        return _typed_dict(hint.__name__, members)
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return Annotated[(_supported(parts[0], inside), *parts[1:])]
    if origin is Literal or (made := tuple(_supported(part, inside) for part in parts)) == parts:
        return hint
    return functools.reduce(operator.or_, made) if origin in {Union, UnionType} else origin[made]


def _plain(function: Any) -> Any:
    """The function that was written, under partials, decorators, methods and callable objects."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif inspect.ismethod(function):
            function = function.__func__
        elif inspect.isroutine(function):
            return function
        else:
            function = type(function).__call__


def _scopes(function: Any) -> Iterator[dict[str, Any]]:
    """Local names that annotations may use: those that the function closes over, then those where it is defined."""
    code: CodeType | None = getattr(function, "__code__", None)
    cells = zip(code.co_freevars, function.__closure__ or (), strict=False) if code else ()
    closed = {}
    for name, cell in cells:
        try:
            closed[name] = cell.cell_contents
        except ValueError:
            continue  # not assigned yet
    yield closed
    frame = inspect.currentframe()
    while code and frame:
        if any(constant is code for constant in frame.f_code.co_consts):
            yield {**frame.f_locals, **closed}
        frame = frame.f_back


def _check_size(tool: str, arguments: Mapping[str, object]) -> None:
    left = _LARGEST
    for name, argument in arguments.items():
        left -= len(str(name))
        level = [argument]
        for _ in range(_DEEPEST):
            below: list[object] = []
            for value in level:
                left -= len(value) if isinstance(value, Sized) else 1
                if left < 0:
                    raise InvalidArguments(
                        f"{tool}: with {_short(name)} the arguments are larger than {_LARGEST} characters."
                    )
                if isinstance(value, Mapping):
                    below += value
                    below += value.values()
                elif isinstance(value, (list, tuple, set, frozenset)):
                    below += value
            if not below:
                break
            level = below
        else:
            raise InvalidArguments(f"{tool}: {_short(name)} is nested deeper than {_DEEPEST} levels.")


def _problem(error: ErrorDetails, known: list[str]) -> str:
    """One sentence: which argument, what was expected, and what was there by its type."""
    place = _short(".".join(str(part) for part in error["loc"]))
    if error["type"] == "missing":
        return f"{place} is missing."
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(place, known) if len(error["loc"]) == 1 else []
        return f"{place} is not a parameter." + (f" Did you mean {' or '.join(near)}?" if near else "")
    text, given = error["msg"], error["input"]
    if isinstance(given, str) and len(given) > 1:
        text = text.replace(given, "…")
    return f"{place}: {text if error['type'] in _PYDANTIC else _short(text)}, not {type(given).__name__}."


def _short(given: object) -> str:
    text = str(given)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
