"""argon2id (RFC 9106), off the loop, a few at once; with what OWASP advises at present."""

from __future__ import annotations

import asyncio
import logging
import unicodedata
from collections.abc import Callable
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import Argon2Error, InvalidHashError

from valetkey.errors import InvalidArguments, RateLimited
from valetkey.secret import Secret

SHORTEST = 12
LONGEST = 256
"""Characters of a password; there is no other rule (NIST SP 800-63B §3.1.1.2)."""

AT_ONCE = 2
"""Hashes that are made at one time: each takes a processor and 19 MiB."""

WAITING = 100
"""Those that may wait for that; whoever comes then is told to come back."""

# OWASP Password Storage Cheat Sheet: argon2id, 19 MiB, 2 passes, 1 lane.
_MEMORY = 19 * 1024  # KiB
_PASSES = 2
_LANES = 1
_SALT = 16  # bytes
_HASH = 32  # bytes

# Nobody's: verifying against it costs the same, and nothing is equal to it.
_DUMMY = f"$argon2id$v=19$m={_MEMORY},t={_PASSES},p={_LANES}${'A' * 22}${'A' * 43}"

T = TypeVar("T")

_log = logging.getLogger("valetkey")


class Passwords:
    """Makes and verifies hashes; for use on one loop at a time."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(
            time_cost=_PASSES,
            memory_cost=_MEMORY,
            parallelism=_LANES,
            hash_len=_HASH,
            salt_len=_SALT,
            type=Type.ID,
        )
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def hash(self, password: Secret, *, salt: bytes) -> str:
        """The hash in its own format, with its parameters.

        Args:
            password: of 12 to 256 characters.
            salt: 16 random bytes.

        Raises:
            InvalidArguments: the password is too short or too long.
            RateLimited: too many are being made.
        """
        text = normalised(password)
        if not SHORTEST <= len(text) <= LONGEST:
            raise InvalidArguments(f"A password has {SHORTEST} to {LONGEST} characters; any characters will do.")
        return await self._run(lambda: self._hasher.hash(_octets(text), salt=salt))

    async def matches(self, hashed: str | None, password: Secret) -> bool:
        """Whether it is the password of that hash; without a hash it takes as long, and is never.

        Raises:
            RateLimited: too many are being verified.
        """
        text = normalised(password)
        if not SHORTEST <= len(text) <= LONGEST:
            return False  # known without a look at any account
        return await self._run(lambda: self._verify(hashed or _DUMMY, text)) and hashed is not None

    def is_dated(self, hashed: str) -> bool:
        """Whether a hash was made with other parameters than those of today."""
        try:
            return self._hasher.check_needs_rehash(hashed)
        except InvalidHashError:
            return False

    def _verify(self, hashed: str, text: str) -> bool:
        try:
            return self._hasher.verify(hashed, _octets(text))
        except InvalidHashError:
            _log.error("the hash of a password cannot be read: set the password anew with valetkey users set-password")
            return False
        except Argon2Error:
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= WAITING:
            raise RateLimited("Too many people sign in just now. Try again in 5 s.", retry_after=5)
        self._waiting += 1
        try:
            async with self._slots:
                return await asyncio.to_thread(work)
        finally:
            self._waiting -= 1


def normalised(password: Secret) -> str:
    """One form for what looks alike (NFKC, NIST SP 800-63B §3.1.1.2), whatever keyboard it was typed on."""
    return unicodedata.normalize("NFKC", password.reveal())


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
