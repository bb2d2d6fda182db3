"""oidc-provider as the tenant of an identity service: users' access tokens, its keys, and what goes wrong with them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.real.oidc import _read_line
from tests.real.visitor import call

SCRIPT = Path(__file__).resolve().parent / "tenant.mjs"


class Tenant:
    """A running one.

    Args:
        node: the command.
        log: where its standard error goes.
        namespace: what its own claims ``roles`` and ``email`` begin with.
        audience: of its tokens.
        slash: whether its name ends in one, as that of an Auth0 tenant does.
    """

    def __init__(self, node: str, log: Path, *, namespace: str, audience: str, slash: bool = False) -> None:
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [node, str(SCRIPT), json.dumps({"namespace": namespace, "audience": audience, "slash": slash})],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=SCRIPT.parent,
            )
        assert self._process.stdout is not None
        line = _read_line(self._process.stdout)
        if not line:
            self.stop()
            raise RuntimeError(f"the tenant did not start: {log.read_text(errors='replace').strip()}")
        self.issuer = str(json.loads(line)["issuer"])

    @property
    def asked(self) -> int:
        """How often its keys were asked for."""
        return int(self._admin("state")["asked"])

    def token(self, *, alg: str = "RS256", sub: str = "auth0|ada", scope: str = "openid", **more: Any) -> str:
        """An access token: a JWT, or with ``format="opaque"`` one that only introspection explains."""
        return str(self._admin("token", alg=alg, sub=sub, scope=scope, **more)["token"])

    def revoke(self, token: str) -> None:
        """End an opaque token."""
        self._admin("revoke", token=token)

    def rotate(self) -> None:
        """From now on it has other keys, and none of the old ones."""
        self._admin("rotate")

    def behave(self, *, down: bool = False) -> None:
        """Whether everything is answered by 503."""
        self._admin("behave", down=down)

    def stop(self) -> None:
        """End the process."""
        process = self._process
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
        if process.stdout:
            process.stdout.close()

    def _admin(self, command: str, **arguments: object) -> dict[str, Any]:
        answer = call(f"{self.issuer.rstrip('/')}/admin/{command}", method="POST", body=json.dumps(arguments).encode())
        assert answer.status == 200, answer.text
        told: dict[str, Any] = json.loads(answer.body)
        return told
