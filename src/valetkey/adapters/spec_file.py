"""An OpenAPI document's file."""

from __future__ import annotations

from pathlib import Path

from valetkey.errors import ToolsGenerationError


def read(path: str, *, most: int) -> bytes:
    """What it holds, but one byte over ``most`` at the most.

    Raises:
        ToolsGenerationError: it is not there, or cannot be read.
    """
    try:
        with Path(path).expanduser().open("rb") as file:
            return file.read(most + 1)
    except FileNotFoundError:
        raise ToolsGenerationError(f"OpenAPI spec file not found: {path}") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "the name is none of a file"
        raise ToolsGenerationError(f"OpenAPI spec file {path} cannot be read: {why}.") from None
