"""Whether boto3 would find credentials of AWS: by looking, without it and without the network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from valetkey.settings.sources import read_ini

_ENOUGH = (
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_DEFAULT_PROFILE",
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)
"""Each of these alone says that somebody meant AWS to be used."""

_KEYS = frozenset(
    {
        "aws_access_key_id",
        "credential_process",
        "login_session",
        "role_arn",
        "sso_account_id",
        "sso_session",
        "web_identity_token_file",
    }
)
"""What a profile has that gives credentials; a region alone gives none."""


def can_be_used(environ: Mapping[str, str]) -> bool:
    """Whether the environment or the usual files name credentials.

    A role of the machine itself (EC2) is not seen: it would have to be asked for over the network.
    """
    if environ.get("AWS_ACCESS_KEY_ID") and environ.get("AWS_SECRET_ACCESS_KEY"):
        return True
    if any(environ.get(name) for name in _ENOUGH):
        return True
    files = (
        environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials",
        environ.get("AWS_CONFIG_FILE") or "~/.aws/config",
    )
    return any(_KEYS & set(read_ini(_expanded(file, environ)).get("default", {})) for file in files)


def _expanded(name: str, environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME", "")
    return Path(home) / name[2:] if name.startswith("~/") and home else Path(name).expanduser()
