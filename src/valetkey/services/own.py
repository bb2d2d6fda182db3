"""Our own service hypha-login."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from valetkey.identity.login import SERVICE, LoginService
from valetkey.model.workspaces import PUBLIC
from valetkey.services.sight import Who
from valetkey.services.table import Service, ServiceTable


def register_login(table: ServiceTable, login: LoginService, given: Mapping[str, Any] | None = None) -> Service:
    """Put the login service into the table; what a host program gave of its own goes before ours."""
    own = _login_functions(login)
    theirs = dict(given or {})
    service = {
        "id": SERVICE,
        "name": "Sign in",
        "description": "Signs a program in: its person says yes in a browser.",
        **own,
        **theirs,
        "type": "functions",
    }
    service["config"] = {**(theirs.get("config") or {}), "visibility": "public", "workspace": PUBLIC}
    return table.register(service, workspace=PUBLIC, overwrite=True, ours=frozenset(own) - frozenset(theirs))


def _login_functions(login: LoginService) -> dict[str, Any]:
    async def start(workspace: str | None = None, expires_in: float | None = None, *, who: Who) -> Any:
        return await login.start(workspace, expires_in, address=who.address, agent=who.agent)

    async def check(key: str, timeout: float | None = None, profile: bool = False, *, who: Who) -> Any:  # noqa: ARG001, FBT001, FBT002
        return await login.check(key, timeout, profile)

    async def report(key: str, token: str, *, who: Who, **known: Any) -> None:
        known.pop("address", None)
        await login.report(key, token, address=who.address, **known)

    async def profile(config: object = None, *, who: Who) -> Any:  # noqa: ARG001
        return await login.profile(config)

    async def logout(config: object = None, *, who: Who) -> Any:  # noqa: ARG001
        return await login.logout(config)

    return {"start": start, "check": check, "report": report, "profile": profile, "logout": logout}
