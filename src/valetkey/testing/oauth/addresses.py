"""Where the endpoints of an OAuth server for tests are."""

from __future__ import annotations

from starlette.types import ASGIApp

from valetkey.testing.loopback import Loopback
from valetkey.testing.oauth.endpoints import PATHS


class Addresses(Loopback):
    """The server's URLs, as a provider's settings need them."""

    def __init__(self, app: ASGIApp, *, issuer: str | None, host: str, port: int) -> None:
        super().__init__(app, host=host, port=port)
        self._issuer = issuer

    @property
    def issuer(self) -> str:
        """The issuer identifier (RFC 8414 §2)."""
        return self._issuer or self.url

    @property
    def authorize_url(self) -> str:
        """The authorization endpoint."""
        return self.url + PATHS["authorize"]

    @property
    def token_url(self) -> str:
        """The token endpoint."""
        return self.url + PATHS["token"]

    @property
    def revoke_url(self) -> str:
        """The revocation endpoint (RFC 7009)."""
        return self.url + PATHS["revoke"]

    @property
    def introspect_url(self) -> str:
        """The introspection endpoint (RFC 7662)."""
        return self.url + PATHS["introspect"]

    @property
    def userinfo_url(self) -> str:
        """The user info endpoint."""
        return self.url + PATHS["userinfo"]

    @property
    def mail_url(self) -> str:
        """A resource that needs a token: ``{"messages": […]}``."""
        return self.url + PATHS["mail"]

    @property
    def metadata_url(self) -> str:
        """The metadata document (RFC 8414)."""
        return self.url + PATHS["metadata"]
