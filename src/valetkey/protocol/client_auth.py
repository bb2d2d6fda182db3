"""RFC 6749 §2.3: how a client proves itself."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote_plus

from valetkey.errors import InvalidSetting
from valetkey.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a request carries to say who asks; neither part prints."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)


def prove(method: str, *, client_id: str, secret: Secret | None) -> Proof:
    """Prove a client by its registered method (RFC 7591 §2).

    A client without a secret is a public one, whatever the method: it only names itself (RFC 6749 §3.2.1).

    Args:
        method: ``client_secret_basic``, ``client_secret_post`` or ``none``.
        client_id: who we are at that server.
        secret: what only we and that server know; None for a public client.

    Raises:
        InvalidSetting: no such method.
    """
    if method not in _METHODS:
        raise InvalidSetting(f"Unknown client authentication {method!r}: expected one of {', '.join(_METHODS)}.")
    return _METHODS[method](client_id, secret) if secret else _none(client_id, secret)


def _basic(client_id: str, secret: Secret) -> Proof:
    """HTTP Basic, each half form-encoded first, so that a colon parts them only once (RFC 6749 §2.3.1)."""
    pair = f"{quote_plus(client_id, safe='')}:{quote_plus(secret.reveal(), safe='')}"
    return Proof(headers={"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"})


def _post(client_id: str, secret: Secret) -> Proof:
    return Proof(parameters={"client_id": client_id, "client_secret": secret.reveal()})


def _none(client_id: str, secret: Secret | None) -> Proof:  # noqa: ARG001  # methods are called alike
    return Proof(parameters={"client_id": client_id})


_METHODS: Mapping[str, Callable[[str, Secret], Proof]] = {
    "client_secret_basic": _basic,
    "client_secret_post": _post,
    "none": _none,
}
