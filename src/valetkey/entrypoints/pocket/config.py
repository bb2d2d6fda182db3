"""config(): the settings of the default system."""

from __future__ import annotations

from typing import Any

from valetkey.settings.pocket import Config, ProviderConfig
from valetkey.wiring import build

OAuth2AuthConfig = ProviderConfig
"""What may be assigned to ``config().auth.<provider>``: ``OAuth2AuthConfig(client_id=…, client_secret=…)``."""


class DefaultConfig:
    """``config.auth.slack.client_id`` and ``config().auth.slack.client_id`` are the same setting."""

    def __call__(self) -> Config:
        """The settings themselves."""
        return build.default().config

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(build.default().config, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(build.default().config, name, value)

    def __repr__(self) -> str:
        return "config"


config = DefaultConfig()
