"""Where a test's accounts are: a data folder, a database, a provider's file; and the test's own look at all of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.faults.crew import Nursery, Worker
from tests.faults.worker import PROVIDER
from tests.real.oidc import Oidc
from tests.real.visitor import post
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.model.connections import Connection, Credential, Grant
from valetkey.protocol.authorize import challenge_of
from valetkey.secret import Secret
from valetkey.settings.pocket import Config
from valetkey.wiring import build

T = TypeVar("T")

REDIRECT_URI = "https://localhost/callback"
SCOPES = ("openid", "offline_access", "mail.read")
VERIFIER = "a-verifier-that-is-long-enough-for-RFC-7636"


@dataclass(frozen=True)
class Account:
    """Somebody's account as it was connected: its first tokens."""

    owner: str
    access_token: str
    refresh_token: str


class Place:
    """Shared by the workers of a test. Settings are those of the product."""

    def __init__(self, nursery: Nursery, oidc: Oidc, *, home: Path, project: Path, **settings: str) -> None:
        self.oidc = oidc
        self.home = home
        self.settings = settings
        self.workers: list[Worker] = []
        self._nursery = nursery
        self._project = project
        self._write_provider()
        self.system = build.build(Config.load(project, {}, **settings), folder=home, environ={})

    def worker(self, **plan: Any) -> Worker:
        """A process that works here; `tests.faults.worker` says what a plan may hold."""
        number = len(self.workers)
        whole = {
            "project": str(self._project),
            "home": str(self.home),
            "settings": self.settings,
            "log": str(self._project / f"worker-{number}.log"),
            **plan,
        }
        self.workers.append(self._nursery.worker(whole))
        return self.workers[-1]

    def account(self, owner: str = "ann", *, ends_in: float = -100.0) -> Account:
        """An account that somebody connected at oidc-provider; by default its token has ended."""
        self.oidc.allow(REDIRECT_URI)
        asked = {
            "client_id": Oidc.post.id,
            "response_type": "code",
            "redirect_uri": REDIRECT_URI,
            "scope": " ".join(SCOPES),
            "prompt": "consent",
            "code_challenge": challenge_of(VERIFIER),
            "code_challenge_method": "S256",
        }
        callback = self.oidc.consent(f"{self.oidc.authorize_url}?{urlencode(asked)}", login=owner)
        fields = {
            "grant_type": "authorization_code",
            "code": dict(parse_qsl(urlsplit(callback).query))["code"],
            "redirect_uri": REDIRECT_URI,
            "code_verifier": VERIFIER,
            "client_id": Oidc.post.id,
            "client_secret": Oidc.post.secret or "",
        }
        answer = post(self.oidc.token_url, fields)
        assert answer.status == 200, answer.text
        told = json.loads(answer.body)
        credential = Credential(
            access_token=Secret(told["access_token"]),
            refresh_token=Secret(told["refresh_token"]),
            client_id=Oidc.post.id,
        )
        grant = Grant(credential=credential, scopes=frozenset(SCOPES), expires_at=time.time() + ends_in)
        handler = self.system.handling.find(None, PROVIDER)
        keeping = self.system.keeper.keep(grant, handler, owner_of(owner), profile="default", asked=frozenset(SCOPES))
        self.run(keeping)
        return Account(owner, told["access_token"], told["refresh_token"])

    def held(self, owner: str = "ann") -> Connection:
        """The owner's row as it is now."""
        found = self.find(owner)
        assert found is not None, f"{owner} has no connection"
        return found

    def find(self, owner: str = "ann") -> Connection | None:
        return self.run(self.system.stores.connections.get(owner_of(owner), PROVIDER, "default"))

    def tokens(self, owner: str = "ann") -> tuple[str, str]:
        """The access and the refresh token in that row."""
        credential = self.system.sealer.open_credential(self.held(owner))
        assert credential.refresh_token is not None
        return credential.access_token.reveal(), credential.refresh_token.reveal()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something with the test's own system, or another one on this machine."""
        return asyncio.run(work)

    def close(self) -> None:
        for worker in self.workers:
            worker.dismiss()
        for worker in self.workers:
            worker.wait_dead()
        self.system.close()

    def _write_provider(self) -> None:
        oidc, client = self.oidc, Oidc.post
        settings = self._project / "valetkey.toml"
        settings.write_text(
            f"[auth.{PROVIDER}]\nclient_id = '{client.id}'\nclient_secret = '{client.secret}'\n", "utf-8"
        )
        settings.chmod(0o600)
        folder = self._project / "valetkey_providers"
        folder.mkdir(exist_ok=True)
        (folder / f"{PROVIDER}.toml").write_text(
            f"""
            title = "Mailroom"
            origins = ["{oidc.issuer}"]

            [handlers.{PROVIDER}-oauth2]
            kind = "oauth2"
            default = true
            variables = {{ {PROVIDER.upper()}_TOKEN = "access_token" }}

            [handlers.{PROVIDER}-oauth2.oauth2]
            authorize = "{oidc.authorize_url}"
            token = "{oidc.token_url}"
            revoke = "{oidc.revoke_url}"
            client_auth = "{client.method}"
            refresh_scopes = ["openid", "offline_access"]
            issuer = "{oidc.issuer}"
            iss_in_callback = true
            """,
            "utf-8",
        )
