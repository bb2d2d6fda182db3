"""Parameter descriptions are found in every form that people write them in."""

import inspect

import pytest

from valetkey.tools.docstrings import parse

NAMES = frozenset({"channel", "limit"})
FOUND = {"channel": "slack channel name", "limit": "message limit, at most 100"}

SEED = """
    Fetch recent messages from a Slack channel.

    channel(str): slack channel name
    limit(int): message limit,
        at most 100
"""
GOOGLE = """Fetch recent messages from a Slack channel.

    Args:
        channel (str): slack channel name
        limit (int, optional): message limit,
            at most 100

    Returns:
        The messages: all of them.

    Raises:
        ValueError: never
"""
SPHINX = """Fetch recent messages from a Slack channel.

    :param str channel: slack channel name
    :param limit: message limit,
        at most 100
    :type limit: int
    :returns: the messages
"""
ARG = """Fetch recent messages from a Slack channel.

    :arg channel: slack channel name
    :arg limit: message limit,
        at most 100
"""
JAVADOC = """Fetch recent messages from a Slack channel.

    @param channel slack channel name
    @param limit: message limit,
        at most 100
    @return the messages
"""
NUMPYDOC = """Fetch recent messages from a Slack channel.

    Parameters
    ----------
    channel : str
        slack channel name
    limit : int, optional
        message limit,
        at most 100

    Returns
    -------
    list
        the messages
"""


@pytest.mark.parametrize("docstring", [SEED, GOOGLE, SPHINX, ARG, JAVADOC, NUMPYDOC])
def test_each_form_gives_the_same(docstring):
    found = parse(inspect.cleandoc(docstring), NAMES)
    assert found.parameters == FOUND
    assert found.text == "Fetch recent messages from a Slack channel."


def test_a_line_that_names_no_parameter_is_text():
    found = parse("Note: this is text.\n\nExample: also text.\n\nchannel: the channel\n\nAnd more.", NAMES)
    assert found.parameters == {"channel": "the channel"}
    assert found.text == "Note: this is text.\n\nExample: also text.\n\nAnd more."


def test_no_docstring_says_nothing():
    assert (parse(None, NAMES).text, parse(None, NAMES).parameters) == ("", {})
