"""What a tool reads of a credential, by name, as the catalogue's entry maps it."""

from __future__ import annotations

from collections.abc import Mapping

from valetkey.model.connections import Credential
from valetkey.providers.base import HandlerEntry, Provider
from valetkey.secret import Secret

ACCESS_TOKEN = "access_token"


def mapping_of(entry: HandlerEntry, provider: Provider) -> Mapping[str, str]:
    """The entry's variables, mapped to what they hold; ``<PROVIDER>_TOKEN`` where it names none."""
    return entry.variables or {f"{provider.name.replace('-', '_').upper()}_TOKEN": ACCESS_TOKEN}


def filled(variables: Mapping[str, str], credential: Credential) -> dict[str, Secret]:
    """The variables with their values; what the credential does not hold is left out."""
    held = dict(credential.fields)
    if credential.access_token:
        held[ACCESS_TOKEN] = credential.access_token
    return {name: held[source] for name, source in variables.items() if source in held}
