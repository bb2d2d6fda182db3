"""What others verify our access tokens by: our issuer, and our public keys (RFC 8414, RFC 7517)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from valetkey.entrypoints.render import http_status
from valetkey.errors import ValetkeyError
from valetkey.vault.signing import Signer

JWKS = "/.well-known/jwks.json"
METADATA = "/.well-known/oauth-authorization-server"
OPENID = "/.well-known/openid-configuration"

_KEPT = {"cache-control": "public, max-age=300"}
_NOT_KEPT = {"cache-control": "no-store"}


class Published:
    """The documents of one issuer.

    Args:
        signer: whose keys.
        base_url: our own address, as browsers know it, without a slash at the end.
    """

    def __init__(self, signer: Signer, *, base_url: Callable[[], str]) -> None:
        self._signer = signer
        self._base_url = base_url

    def routes(self) -> list[BaseRoute]:
        """The routes, for the app."""
        return [
            Route(JWKS, self.keys, methods=["GET"]),
            Route(METADATA, self.metadata, methods=["GET"]),
            Route(OPENID, self.metadata, methods=["GET"]),
        ]

    async def keys(self, request: Request) -> Response:
        """The public keys, newest first; with a shared secret there are none."""
        try:
            return JSONResponse(await asyncio.to_thread(self._signer.jwks), headers=_KEPT)
        except ValetkeyError as error:
            return JSONResponse({"detail": error.message}, status_code=http_status(error), headers=_NOT_KEPT)

    async def metadata(self, request: Request) -> Response:
        """Who we are and where our keys are. Nothing else is named, as nothing else is served.

        With a shared secret nobody could verify by it, and the issuer's name is not our address: there is none.
        """
        if self._signer.algorithm == "HS256":
            problem = {"detail": "Tokens are signed with a shared secret here: there are no public keys."}
            return JSONResponse(problem, status_code=404, headers=_NOT_KEPT)
        document: dict[str, Any] = {
            "issuer": self._signer.issuer,
            "jwks_uri": f"{self._base_url()}{JWKS}",
        }
        return JSONResponse(document, headers=_KEPT)
