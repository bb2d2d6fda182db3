"""What a person has to do for one provider, as text."""

from __future__ import annotations

from valetkey.model.interactions import Invitation


class AuthPrompt(str):
    """What a person has to do for one provider: the text with the link; ``.provider`` and ``.url`` apart.

    With the device grant ``.user_code`` is the code to enter at ``.verification_uri``; else both are empty.
    """

    __slots__ = ("provider", "url", "user_code", "verification_uri")

    provider: str
    url: str
    user_code: str
    verification_uri: str

    @classmethod
    def of(cls, provider: str, asked: Invitation) -> AuthPrompt:
        """The prompt for that provider."""
        prompt = cls(asked.text)
        prompt.provider = provider
        prompt.url = asked.url
        prompt.user_code, prompt.verification_uri = asked.user_code, asked.verification_uri
        return prompt
