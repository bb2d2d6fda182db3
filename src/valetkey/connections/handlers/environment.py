"""Values of the environment, by an allow-list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

from valetkey.connections.handler import Begun, Flow, Handler
from valetkey.connections.variables import ACCESS_TOKEN, mapping_of
from valetkey.errors import InvalidAnswer, InvalidSetting, MissingSetting
from valetkey.model.connections import Credential, Grant
from valetkey.oauth.clients import Clients
from valetkey.providers.base import Provider
from valetkey.secret import Secret

NAME = "environment"


class EnvironmentHandler(Handler):
    """An account whose credential is in variables of the host process (decision 10).

    Only variables that ``[auth.<provider>] environment = {SLACK_BOT_TOKEN = "MY_VAR"}`` names are read; nothing that
    a caller or a model says leads to another. No person is asked, and nothing is stored.

    Args:
        provider: whose accounts it connects.
        clients: where the settings are.
        environ: the environment of the process.
    """

    interactive = False
    scoped = False

    def __init__(self, *, provider: Provider, clients: Clients, environ: Mapping[str, str]) -> None:
        self.name = f"{provider.name}-{NAME}"
        self.provider = provider
        self._clients = clients
        self._environ = environ

    @property
    def _allowed(self) -> Mapping[str, str]:
        return self._clients.of(self.provider.name).environment

    async def begin(self, flow: Flow) -> Begun:
        """No link: nobody has to do anything."""
        return Begun(url="")

    def judge(self, private: Mapping[str, str], parameters: Sequence[tuple[str, str]]) -> NoReturn:
        """No callback is ever an answer."""
        raise InvalidAnswer(f"{self.provider.title} is connected by the environment, not by a page.")

    async def finish(self, flow: Flow, private: Mapping[str, str], answer: Mapping[str, str]) -> Grant:
        """Read the variables that settings name.

        Raises:
            MissingSetting: settings name none, or one is not set; the text names it.
        """
        return self._read()

    async def refresh(self, credential: Credential, scopes: frozenset[str]) -> Grant:
        """Read them once more.

        Raises:
            MissingSetting: one is not set any more.
        """
        return self._read()

    def variables(self, credential: Credential) -> Mapping[str, Secret]:
        """What was read, by the names that a tool knows."""
        return dict(credential.fields)

    def variable_names(self) -> frozenset[str]:
        """The names in settings."""
        return frozenset(self._allowed)

    def _read(self) -> Grant:
        name = self.provider.name
        if not self._allowed:
            wanted = next(iter(mapping_of(self.provider.default_handler, self.provider)))
            raise MissingSetting(
                f"auth.{name}.environment names no variable. Write into valetkey.toml, for example:\n\n"
                f'    [auth.{name}]\n    environment = {{{wanted} = "MY_VARIABLE"}}'
            )
        fields = {target: self._value(source) for target, source in self._allowed.items()}
        return Grant(credential=Credential(access_token=self._token(fields), fields=fields))

    def _value(self, source: str) -> Secret:
        value = self._environ.get(source, "").strip()
        if not value:
            raise MissingSetting(
                f"The environment variable {source} is not set, or empty; auth.{self.provider.name}.environment "
                "names it. Set it and start the program again."
            )
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise InvalidSetting(f"The environment variable {source} is not UTF-8. Set it again.")
        return Secret(value)

    def _token(self, fields: Mapping[str, Secret]) -> Secret:
        """What is lent as the access token: the only one, or the one that the catalogue calls so."""
        if len(fields) == 1:
            return next(iter(fields.values()))
        known = {
            variable
            for entry in self.provider.handlers
            for variable, held in mapping_of(entry, self.provider).items()
            if held == ACCESS_TOKEN
        }
        return next((value for name, value in fields.items() if name in known), Secret(""))
