"""The default system of this process, with the callback server of a script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from valetkey.entrypoints import local

if TYPE_CHECKING:
    from valetkey.wiring.system import System


def default_system(*, routers: Sequence[Any] = ()) -> System:
    """The default system; ``routers`` of auth handlers are served under ``/auth`` beside its own pages."""
    from valetkey.wiring import build  # the parts load with the first tool or account

    system = build.default()
    local.attach(system, routers)
    return system
