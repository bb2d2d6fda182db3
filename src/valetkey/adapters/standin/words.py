"""The words of a sentence, as the offline stand-in compares them."""

from __future__ import annotations

import re

STOP_WORDS = frozenset(
    """a an and any are as at be by can could did do does for from had has have how i if in into is it its let me my
    of on or our out please shall should so some tell than that the their them then there these they this those to up
    us was we were what when where which who will with would you your""".split()  # noqa: SIM905  # a list of seventy strings is no easier to read
)

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_WORD = re.compile(r"[^\W_]+")
_SIBILANT = ("ches", "shes", "sses", "xes", "zes")


def words(text: str) -> list[str]:
    """Every word, without its plural; ``list_userFiles`` has three."""
    return [stem(word) for word in _WORD.findall(_CAMEL.sub(" ", text).casefold())]


def meaning(text: str) -> set[str]:
    """The words that say what a sentence is about."""
    return {stem(word) for word in _WORD.findall(_CAMEL.sub(" ", text).casefold()) if word not in STOP_WORDS}


def stem(word: str) -> str:
    """A word without its plural ending."""
    if len(word) > len("ties") and word.endswith("ies"):
        return f"{word[:-3]}y"
    if word.endswith(_SIBILANT):
        return word[:-2]
    if len(word) > len("gas") and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
