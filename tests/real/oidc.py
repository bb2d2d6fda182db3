"""oidc-provider, started as its own process, and a person who signs in there without a browser."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal
from urllib.parse import urlsplit

from tests.real.visitor import Visitor, call

SCRIPT = Path(__file__).resolve().parent / "provider.mjs"
SCOPES = ("openid", "offline_access", "mail.read", "mail.send")
START_TIMEOUT = 30.0


@dataclass(frozen=True)
class OidcClient:
    id: str
    secret: str | None
    method: str

    def registration(self) -> dict[str, str]:
        told = {"client_id": self.id, "token_endpoint_auth_method": self.method}
        return told | ({"client_secret": self.secret} if self.secret else {})


# With characters that Basic must form-encode (RFC 6749 §2.3.1).
BASIC = OidcClient("basic-client", "basic secret +/:%", "client_secret_basic")
POST = OidcClient("post-client", "post-secret-4f0d1c", "client_secret_post")
PUBLIC = OidcClient("public-client", None, "none")
# Every kind of character that RFC 6749 Appendix A lets an id and a secret have, and a coding may get wrong.
ODD = OidcClient("odd client:%2F+/=?&#", '~a:b%c+d e/f=g?h&i#j"k\\l%2Bm', "client_secret_basic")


@dataclass(frozen=True, kw_only=True)
class Family:
    """A grant and its refresh tokens: what became of it, and how its refreshes went.

    Attributes:
        alive: whether the grant still stands.
        refreshes: those that were decided, for or against.
        invalid_grants: those refused as ``invalid_grant``.
        reuses: those among them for a refresh token that was used up.
        most_in_flight: at one moment.
        held: requests that wait for `Oidc.release`.
        newest: the refresh token that was issued last.
    """

    alive: bool
    refreshes: int
    invalid_grants: int
    reuses: int
    most_in_flight: int
    held: int
    newest: str


class Oidc:
    """A running oidc-provider: PKCE required, refresh tokens rotated, a family killed by any double refresh.

    A refresh token is issued for the scopes ``openid offline_access`` with ``prompt=consent``.
    """

    basic, post, public, odd = BASIC, POST, PUBLIC, ODD

    def __init__(self, node: str, log: Path, *, redirect_uris: Sequence[str] = (), access_ttl: int = 3600) -> None:
        config = {
            "clients": [client.registration() for client in (BASIC, POST, PUBLIC, ODD)],
            "redirectUris": list(redirect_uris),
            "scopes": list(SCOPES),
            "accessTtl": access_ttl,
        }
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [node, str(SCRIPT), json.dumps(config)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=SCRIPT.parent,
            )
        self._log = log
        try:
            self.issuer = str(json.loads(self._first_line())["issuer"])
        except BaseException:
            self.stop()
            raise

    @property
    def authorize_url(self) -> str:
        return f"{self.issuer}/auth"

    @property
    def token_url(self) -> str:
        return f"{self.issuer}/token"

    @property
    def revoke_url(self) -> str:
        return f"{self.issuer}/token/revocation"

    @property
    def introspect_url(self) -> str:
        return f"{self.issuer}/token/introspection"

    @property
    def whoami_url(self) -> str:
        """A resource: who the bearer of a live access token is, or 401."""
        return f"{self.issuer}/whoami"

    @property
    def exchanges(self) -> int:
        """Codes that the token endpoint was given, good or not."""
        return int(self._admin("state")["exchanges"])

    @property
    def refreshes(self) -> int:
        """Refresh tokens that the token endpoint was given, good or not."""
        return int(self._admin("state")["refreshes"])

    @property
    def revocations(self) -> int:
        return int(self._admin("state")["revocations"])

    @property
    def errors(self) -> list[str]:
        """What was refused or went wrong, in order."""
        return list(self._admin("state")["errors"])

    def allow(self, redirect_uri: str) -> None:
        """Let all clients be sent back there too; compared character by character."""
        self._admin("allow", redirectUri=redirect_uri)

    def lifetime(self, seconds: int) -> None:
        """Let access tokens issued from now on live so long."""
        self._admin("lifetime", seconds=seconds)

    def nonce(self, *, required: bool) -> None:
        """Let proofs of possession need a nonce from now on (RFC 9449 §8)."""
        self._admin("nonce", required=required)

    def reset(self) -> None:
        """Count from zero, with the lifetime of the start."""
        self._admin("reset")

    def family_alive(self, refresh_token: str) -> bool:
        """Whether the grant that a refresh token stems from still stands."""
        return self.family(refresh_token).alive

    def family(self, refresh_token: str) -> Family:
        """The grant that a refresh token stems from."""
        told = self._admin("family", token=refresh_token)
        assert told["known"], "oidc-provider never issued that refresh token"
        return Family(
            alive=told["alive"],
            refreshes=told["refreshes"],
            invalid_grants=told["invalidGrants"],
            reuses=told["reuses"],
            most_in_flight=told["most"],
            held=told["held"],
            newest=told["newest"],
        )

    def hold(self, refresh_token: str, when: Literal["before", "after"]) -> None:
        """Hold the next refreshes of that grant: before they are handled, or when only the answer is missing."""
        self._admin("behave", token=refresh_token, hold=when)

    def release(self, refresh_token: str) -> None:
        """Let what is held go on, and hold no more."""
        self._admin("release", token=refresh_token)

    def wait_held(self, refresh_token: str, timeout: float = 15.0) -> None:
        """Block until a refresh of that grant is held."""
        end = time.monotonic() + timeout
        while not self.family(refresh_token).held:
            assert time.monotonic() < end, "no refresh arrived at oidc-provider"
            time.sleep(0.01)

    def delay(self, refresh_token: str, seconds: float, *, times: int = 1) -> None:
        """Let the next refreshes of that grant wait before they are handled."""
        self._admin("behave", token=refresh_token, delay=seconds, times=times)

    def grace(self, refresh_token: str, seconds: float) -> None:
        """Let refresh tokens of that grant be used again for so long after their first use."""
        self._admin("behave", token=refresh_token, grace=seconds)

    def revoke(self, refresh_token: str) -> None:
        """Withdraw the consent behind a refresh token, as its user may do at the provider."""
        self._admin("revoke", token=refresh_token)

    def end(self, access_token: str) -> None:
        """End one access token before its time; its refresh token stays good."""
        self._admin("end", token=access_token)

    def consent(self, url: str, *, login: str = "someone", answer: str = "consent") -> str:
        """Follow an authorization URL through login and consent; the callback URL, not yet visited.

        ``answer="deny"`` says no at the consent page.
        """
        visitor = Visitor()
        page = visitor.visit(url)
        for _ in range(4):
            if page.answer is None:
                return page.url
            assert page.answer.status == 200, page.answer.text
            if "login" in page.form.fields:
                page = visitor.submit(page, login=login, answer="login")
            else:
                page = visitor.submit(page, answer=answer)
        raise AssertionError(f"still at {urlsplit(page.url).path} after login and consent")

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
        answer = call(f"{self.issuer}/admin/{command}", method="POST", body=json.dumps(arguments).encode())
        assert answer.status == 200, answer.text
        told: dict[str, Any] = json.loads(answer.body)
        return told

    def _first_line(self) -> bytes:
        assert self._process.stdout is not None
        line = _read_line(self._process.stdout)
        if not line:
            raise RuntimeError(f"oidc-provider did not start: {self._log.read_text(errors='replace').strip()}")
        return line


def _read_line(stream: IO[bytes]) -> bytes:
    """One line, or nothing when it does not come in time."""
    lines: list[bytes] = []
    reader = threading.Thread(target=lambda: lines.append(stream.readline()), daemon=True)
    reader.start()
    reader.join(START_TIMEOUT)
    return lines[0] if lines else b""
