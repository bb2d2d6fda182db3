"""Who we are at an issuer: from settings, inline, or registered; keyed by provider."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from valetkey.errors import InvalidSetting, MissingSetting
from valetkey.oauth.notes import Notes
from valetkey.providers.base import Provider
from valetkey.providers.endpoints import override
from valetkey.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """What settings, or the code of the host program, say about us at one provider.

    Attributes:
        client_id, client_secret: as the provider gave them; without a secret we are a public client.
        previous_client_secret: the one before, while the provider may still know us by that: each is tried.
        values: what fills the ``{placeholders}`` of its endpoints, such as Salesforce's ``domain_url``.
        authorize_url, token_url, revoke_url: endpoints instead of the catalogue's.
        use_recommended_scope: whether the recommended scopes are asked for besides the tool's own.
        environment: what a tool reads, mapped to the variable of this process that holds it (decision 10).
        handler: which of the provider's handlers serves where none is named; empty: the entry's default.
        client_auth: how the client proves itself, instead of the entry's way (RFC 7591 §2).
        private_key, key_id: the key with which assertions are signed (RFC 7523), PEM or JWK, or ``file:`` and a path;
            and the id by which the provider knows it.
        service_account: the key file of a service account as its provider gave it, or ``file:`` and a path.
        subject: for whom a service account acts, where it acts for somebody.
        audience, resource: for whom tokens are asked (RFC 8693 §2.1, RFC 8707 §2), where settings say.
        issuer: whose metadata names the endpoints (RFC 8414).
        userinfo_url: where it is asked whose an account is, instead of the entry's; empty: nowhere.
        device_url, par_url, registration_url: endpoints instead of the catalogue's.
        dpop: whether tokens are bound to a key of ours (RFC 9449), instead of the entry's word.
    """

    client_id: str = ""
    client_secret: Secret | None = None
    previous_client_secret: Secret | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    authorize_url: str | None = None
    token_url: str | None = None
    revoke_url: str | None = None
    use_recommended_scope: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    handler: str = ""
    client_auth: str = ""
    private_key: Secret | None = None
    key_id: str = ""
    service_account: Secret | None = None
    subject: str = ""
    audience: str = ""
    resource: str = ""
    issuer: str | None = None
    device_url: str | None = None
    par_url: str | None = None
    registration_url: str | None = None
    userinfo_url: str | None = None
    dpop: bool | None = None

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """The secrets that the provider may know us by, the one of now first."""
        first, other = self.client_secret, self.previous_client_secret
        return tuple(each for each in (first, None if other == first else other) if each)


NOTHING = ClientSettings()


class Clients:
    """Who we are at each provider, read anew each time, so that settings assigned at run time hold at once.

    Args:
        lookup: the settings of a provider by its name; None where there are none.
    """

    def __init__(self, lookup: Callable[[str], ClientSettings | None]) -> None:
        self._lookup = lookup
        self._lock = threading.Lock()
        self._notes: dict[str, Notes] = {}
        self._keys: dict[bytes, tuple[str, str, ClientSettings]] = {}

    def of(self, provider: str) -> ClientSettings:
        """The settings of that provider; empty ones where there are none."""
        return self._lookup(provider) or NOTHING

    def notes(self, provider: Provider) -> Notes:
        """What this process remembers of that provider."""
        with self._lock:
            return self._notes.setdefault(provider.name, Notes(provider.title))

    def claim_key(self, provider: Provider, fingerprint: bytes, *, audience: str) -> None:
        """Sign with that key for that server only: whoever has a signature by it must not be able to use it elsewhere.

        Raises:
            InvalidSetting: another provider's settings name the same key, for another server; names both.
        """
        settings = self.of(provider.name)
        with self._lock:
            name, known, then = self._keys.setdefault(fingerprint, (provider.name, audience, settings))
            if known == audience:
                return
            if name != provider.name and self.of(name) == then:
                raise InvalidSetting(
                    f"auth.{name} and auth.{provider.name} sign with the same private key, for two servers. Each "
                    "server gets a key of its own: make another one, and register its public half there."
                )
            self._keys[fingerprint] = (provider.name, audience, settings)

    def require(self, provider: Provider) -> ClientSettings:
        """The settings of that provider, with a client id.

        Raises:
            MissingSetting: there is none; the text says where to get one and which lines to write where.
        """
        settings = self.of(provider.name)
        if settings.client_id:
            return settings
        name = provider.name
        where = f" Where to get one: {provider.docs}" if provider.docs else ""
        raise MissingSetting(
            f"{provider.title} does not know this program yet: auth.{name}.client_id is not set. Register a "
            "client there, and write its id and secret into valetkey.toml, in the folder where the program "
            f'runs:\n\n    [auth.{name}]\n    client_id = "…"\n    client_secret = "…"\n\nor set '
            f"{variable(name, 'client_id')} and {variable(name, 'client_secret')} in the environment.{where}"
        )

    def settle(self, provider: Provider) -> Provider:
        """The provider with the endpoints that settings name, and with its placeholders filled.

        A token of a server that settings name is never sent to the catalogue's revocation endpoint.

        Raises:
            InvalidSetting: a URL or value cannot be used; names the setting.
            MissingSetting: a placeholder has no value; names the setting.
        """
        settings = self.of(provider.name)
        settled = override(
            provider,
            authorize_url=settings.authorize_url,
            token_url=settings.token_url,
            revoke_url=settings.revoke_url,
            device_url=settings.device_url,
            par_url=settings.par_url,
            registration_url=settings.registration_url,
            issuer=settings.issuer,
            userinfo_url=settings.userinfo_url,
            client_auth=settings.client_auth,
            dpop=settings.dpop,
            values=settings.values,
        )
        if settings.token_url is None or settings.revoke_url is not None:
            return settled
        entries = (
            replace(entry, oauth2=replace(entry.oauth2, revoke=None)) if entry.oauth2 else entry
            for entry in settled.handlers
        )
        return replace(settled, handlers=tuple(entries))


def variable(provider: str, key: str) -> str:
    """The environment variable of the setting ``auth.<provider>.<key>``."""
    return f"VALETKEY_AUTH__{provider}__{key}".replace("-", "_").upper()
