"""What a provider's refusal means for whoever asked, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping

from valetkey.errors import AuthRefused, InvalidSetting, ProviderUnavailable, RefreshFailed, ValetkeyError
from valetkey.oauth.clients import ClientSettings
from valetkey.protocol.token import Refusal, Verdict
from valetkey.providers.base import Provider

INVALID_TARGET = "invalid_target"
"""RFC 8707 §2: the resource is none that the provider knows."""

FAILED = "Failed to refresh the token. Please re-authenticate."

# What a refusal means. A code is used up whatever the reason; a refresh token only when the provider says so.
OF_CODE: Mapping[Verdict, type[ValetkeyError]] = {
    Verdict.LATER: ProviderUnavailable,
    Verdict.FINAL: AuthRefused,
    Verdict.UNCLEAR: AuthRefused,
    Verdict.CONFIGURATION: InvalidSetting,
}
OF_REFRESH: Mapping[Verdict, type[ValetkeyError]] = {
    Verdict.LATER: ProviderUnavailable,
    Verdict.FINAL: RefreshFailed,
    Verdict.UNCLEAR: ProviderUnavailable,
    Verdict.CONFIGURATION: InvalidSetting,
}


def error_of(
    refusal: Refusal, kind: type[ValetkeyError], *, provider: Provider, settings: ClientSettings
) -> ValetkeyError:
    """The error to raise, with what to do next."""
    title, said = provider.title, refusal.text
    if kind is AuthRefused:
        return AuthRefused(f"{title} did not accept the sign-in ({said}). Ask for a new link to try again.")
    if kind is RefreshFailed:
        return RefreshFailed(f"{FAILED} {title} answered: {said}")
    if kind is InvalidSetting:
        setting = f"auth.{provider.name}"
        if refusal.code == INVALID_TARGET:
            return InvalidSetting(invalid_target(provider, said))
        lacking = "" if settings.secrets else f" {setting}.client_secret is not set."
        return InvalidSetting(
            f"{title} and this program are not set up for each other ({said}). Check {setting}.client_id "
            f"and {setting}.client_secret, and the redirect URI that is registered there.{lacking} "
            "Accounts that are connected stay connected."
        )
    return ProviderUnavailable(
        f"{title} gave no usable answer ({said}). Try again later.", retry_after=refusal.retry_after
    )


def invalid_target(provider: Provider, said: str) -> str:
    """What to do about a resource that the provider does not know."""
    setting = f"auth.{provider.name}"
    return (
        f"{provider.title} gives no token for what {setting}.resource names ({said}). Set it to a resource that "
        f"{provider.title} knows, or take it out; where {setting}.audience is set, check that, too."
    )
