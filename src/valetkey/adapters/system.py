"""The real clock and the real randomness."""

from __future__ import annotations

import asyncio
import secrets
import time


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Wall time in seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait on the running loop."""
        await asyncio.sleep(seconds)


class SystemEntropy:
    """The operating system's randomness."""

    def token(self, size: int = 32) -> str:
        """``size`` random bytes, base64url without padding."""
        return secrets.token_urlsafe(size)

    def bytes(self, size: int) -> bytes:
        """``size`` random bytes."""
        return secrets.token_bytes(size)
