"""Choose the language model: the offline stand-in, until another one is set."""

from __future__ import annotations

from valetkey.adapters.llm import Offline
from valetkey.ports.agents import LanguageModel


def language_model() -> LanguageModel:
    """The model that an agent of ours talks to."""
    return Offline()
