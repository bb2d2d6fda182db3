"""A signature and its docstring to a JSON schema, and arguments back."""

from __future__ import annotations

import difflib
import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import FrameType, SimpleNamespace
from typing import Annotated, Any, Optional, get_args

import pydantic
import typing_extensions
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticSerializationError, core_schema, to_jsonable_python

from valetkey.errors import InvalidArguments
from valetkey.tools import docstrings

HIDDEN = frozenset({"thread_id", "profile"})
"""Parameters that the host program fills: never in a schema, whoever declares them."""

_LARGEST = 1_048_576  # octets of arguments
_DEEPEST = 64  # levels of nesting
_LONGEST = 80  # characters of anything that a caller or a tool's own validator wrote
_MOST = 8  # problems told at once
