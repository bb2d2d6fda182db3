"""Sign our own access tokens with a key of the keyring, and publish its public half."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from valetkey.protocol import jwt
from valetkey.protocol.jwk import VerifyingKey, public_key, secret_key
from valetkey.secret import Secret
from valetkey.vault.keyring import Keyring, Purpose

_WIDE = 48  # bytes: 128 bits more than the order, so that no remainder is likelier (FIPS 186-5 A.2.1)
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256 (SP 800-186 §3.2.1.3)
_COORDINATE = 32  # bytes


class Signer:
    """Signs with ES256 (RFC 7518 §3.4) under a key of each root key, or with HS256 where a secret is shared.

    Args:
        secret: with it, HS256; at least 32 bytes.
        issuer, audience: the claims ``iss`` and ``aud`` of our own tokens.
        namespace: what our own claims begin with; a slash is put at its end.

    Raises:
        InvalidSetting: the secret is too short (RFC 8725 §3.5).
    """

    def __init__(self, keyring: Keyring, *, secret: Secret | None, issuer: str, audience: str, namespace: str) -> None:
        self._keyring = keyring
        self._secret = secret
        self._shared = None if secret is None else secret_key(secret)
        self._pairs: dict[str, tuple[ec.EllipticCurvePrivateKey, VerifyingKey]] = {}
        self.issuer = issuer
        self.audience = audience
        self.namespace = namespace if namespace.endswith("/") else f"{namespace}/"
        self.algorithm = "ES256" if secret is None else "HS256"
        self.token_type = "at+jwt" if secret is None else "JWT"
        """The header ``typ``: RFC 9068 §2.1; with a shared secret the one that tools of that kind read."""

    def sign(self, claims: Mapping[str, Any]) -> tuple[str, str]:
        """A signed token, and the id of the root key behind it; empty with a shared secret.

        Raises:
            KeyUnavailable: there is no key.
        """
        if self._secret is not None:
            return jwt.sign(claims, self._secret, alg=self.algorithm, typ=self.token_type), ""
        key_id = self._keyring.newest
        pair, _ = self._pair(key_id)
        return jwt.sign(claims, pair, alg=self.algorithm, kid=key_id, typ=self.token_type), key_id

    def verifying(self, kid: str | None) -> VerifyingKey | None:
        """The key by which a token of ours with that ``kid`` is verified; None: there is none of that name.

        The name is only looked up: nothing is read because somebody names a key that is not here.

        Raises:
            KeyUnavailable: there is no key at all.
        """
        if self._shared is not None:
            return self._shared
        return self._pair(kid)[1] if kid in self._keyring.ids() else None

    def renew(self) -> None:
        """Read the keys anew: another process may have added one. May block.

        Raises:
            KeyUnavailable: they cannot be read; those known so far stay.
        """
        if self._shared is None:
            self._keyring.reload()

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public keys of all root keys, newest first (RFC 7517 §5); none with a shared secret. May block.

        Raises:
            KeyUnavailable: there is no key.
        """
        if self._shared is not None or not self._keyring.newest:
            return {"keys": []}
        return {"keys": [self._jwk(key_id) for key_id in self._keyring.ids()]}

    def _jwk(self, key_id: str) -> dict[str, str]:
        """RFC 7518 §6.2.1."""
        point = self._pair(key_id)[0].public_key().public_numbers()
        x, y = (base64.urlsafe_b64encode(each.to_bytes(_COORDINATE, "big")).decode() for each in (point.x, point.y))
        return {
            "kty": "EC",
            "crv": "P-256",
            "x": x.rstrip("="),
            "y": y.rstrip("="),
            "kid": key_id,
            "use": "sig",
            "alg": self.algorithm,
        }

    def _pair(self, key_id: str) -> tuple[ec.EllipticCurvePrivateKey, VerifyingKey]:
        known = self._pairs.get(key_id)
        if known is None:
            seed = self._keyring.subkey(Purpose.SIGN, key_id)
            wide = HKDFExpand(algorithm=SHA256(), length=_WIDE, info=b"valetkey es256 1").derive(seed)
            private = ec.derive_private_key(int.from_bytes(wide, "big") % (_ORDER - 1) + 1, ec.SECP256R1())
            verifying = public_key(private.public_key(), kid=key_id, algorithm=self.algorithm)
            known = self._pairs[key_id] = private, verifying
        return known
