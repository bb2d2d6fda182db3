"""What a chat logs, as its settings say."""

from __future__ import annotations

import logging
from pathlib import Path

from valetkey.logs import install, show
from valetkey.settings.bedrock import ChatConfig

THIRD_PARTIES = (
    "anthropic",
    "boto3",
    "botocore",
    "google_genai",
    "httpcore",
    "httpcore2",
    "httpx",
    "httpx2",
    "openai",
    "pydantic_ai",
    "urllib3",
    "websockets",
)
"""Libraries that would tell of each request."""

_FAILURES = ("adapters/models/", "entrypoints/chat/", "pipeline.py")
_PACKAGE = Path(__file__).parent.parent.parent

_log = logging.getLogger("valetkey")


def apply_logging(config: ChatConfig) -> None:
    """Put the settings of the log into force in this process, and say at the start who answers.

    A level that the program has set by itself stays, unless ``log_level`` was given. With neither, nothing is changed:
    then the program shows what its own logging shows. The last chat of a process decides for all.
    """
    install()
    if "log_level" in config.model_fields_set:
        show(config.log_level)
    elif config.log_api_calls and _log.level == logging.NOTSET:
        show("INFO")
    if config.suppress_third_party_logs:
        for name in THIRD_PARTIES:
            if logging.getLogger(name).level == logging.NOTSET:
                logging.getLogger(name).setLevel(logging.WARNING)
    _failures.shown = config.log_errors
    _log.addFilter(_failures)
    if config.offline_by_default:
        # A warning: INFO is shown by few programs, and answers that no model gave should surprise nobody.
        _log.warning(
            "The chat answers offline, without a language model: no credentials of AWS were found. "
            "Set BEDROCK_MODEL_ID, or give AWS credentials; BEDROCK_MODEL_ID=offline says that it is meant."
        )


class _Failures(logging.Filter):
    """Holds back what tells of failed calls and answers (``log_errors = false``)."""

    shown = True

    def filter(self, record: logging.LogRecord) -> bool:
        if self.shown or record.levelno < logging.WARNING or record.pathname == __file__:
            return True
        place = record.pathname.removeprefix(f"{_PACKAGE.as_posix()}/")
        return not place.startswith(_FAILURES)


_failures = _Failures()
