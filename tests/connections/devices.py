"""A provider of the device grant, in a few lines: it counts polls by its own clock, and answers as it is told."""

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from valetkey.ports.world import Request, Response
from valetkey.settings.pocket import Config
from valetkey.testing.clock import ManualClock
from valetkey.wiring import build
from valetkey.wiring.system import System

DEVICE_CODE = "device-code-canary-7f3a91c2e4"
USER_CODE = "WDJB-MJHT"
PAGE = "https://github.com/login/device"
TOKENS: dict[str, Any] = {
    "access_token": "at-canary-51",
    "refresh_token": "rt-canary-51",
    "token_type": "bearer",
    "expires_in": 3600,
}


def id_token(subject: str) -> str:
    """An unsigned one: it came straight from the token endpoint."""

    def part(members: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(members).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part({'iss': 'https://github.com', 'sub': subject, 'aud': 'me'})}."


class DeviceServer:
    """The one way out of a system: the device and the token endpoint of GitHub."""

    def __init__(self, clock: ManualClock, **codes: object) -> None:
        self.clock = clock
        self.codes = {
            "device_code": DEVICE_CODE,
            "user_code": USER_CODE,
            "verification_uri": PAGE,
            "expires_in": 900,
            "interval": 5,
        } | codes
        self.asked: list[dict[str, str]] = []
        self.polled: list[float] = []
        self.revoked: list[str] = []
        self.answers: list[Any] = []
        self.then: Any = "authorization_pending"

    async def fetch(self, request: Request) -> Response:
        form = dict(parse_qsl(request.body.decode()))
        if request.url.endswith("/device/code"):
            self.asked.append(form)
            return _answer({name: value for name, value in self.codes.items() if value is not None})
        if "token" in form or request.method == "DELETE" or "/revoke" in request.url:
            self.revoked.append(form.get("token", ""))
            return Response(status=200, headers=(), body=b"{}")
        if form.get("device_code") != DEVICE_CODE:
            return _answer({"error": "not_found"}, 404)
        self.polled.append(self.clock.now())
        answer = self.answers.pop(0) if self.answers else self.then
        if callable(answer):
            answer = await answer()
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, int):
            return _answer({}, answer)
        if isinstance(answer, str):
            return _answer({"error": answer}, 400)
        self.then = "invalid_grant"  # a device code is good once
        return _answer(answer)

    @property
    def pauses(self) -> list[float]:
        """Seconds between two polls."""
        return [after - before for before, after in zip(self.polled, self.polled[1:], strict=False)]


def _answer(members: object, status: int = 200) -> Response:
    return Response(status=status, headers=(("content-type", "application/json"),), body=json.dumps(members).encode())


SETTINGS = """
[auth.github]
client_id = "me"
client_secret = "the secret"
handler = "github-device"
device_url = "https://github.test/device/code"
token_url = "https://github.test/token"
revoke_url = "https://github.test/revoke"
"""


def program(server: DeviceServer, *, in_memory: bool = True, upkeep: bool = False) -> System:
    """A system whose only provider is that one."""
    kept = '[session]\nsession_type = "in_memory"\n' if in_memory else ""
    Path("valetkey.toml").write_text(kept + SETTINGS, "utf-8")
    Path("valetkey.toml").chmod(0o600)
    return build.build(
        Config.load(Path.cwd(), {}),
        folder=Path.cwd() / "home",
        environ={},
        clock=server.clock,
        fetcher=server,
        upkeep=upkeep,
    )
