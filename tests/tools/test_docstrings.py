"""Parameter descriptions are found in every form that people write them in."""

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


OLD_JAVADOC = """Fetch.

    * @param {string} channel - slack channel name
    * @arg limit (int) message limit, at most 100
    * @returns the messages
"""
SPHINX_TYPED = """Fetch.

    :param channel: slack channel name
    :type channel: str
    :param dict[str, tuple(int, int)] limit:
        message limit,
        at most 100
    :raises ValueError: never
    :rtype: list
"""
SECTION_WITH_GAPS = """Fetch.

    Arguments:

      channel (dict(str, int), optional):
          slack channel name

      limit: message limit,

          at most 100
      **kwargs: the rest
      unknown (int): nobody's

    """
LISTED = """Fetch.

    - channel (str): slack channel name
    * `limit`: not the form of a name
    - limit : message limit, at most 100
"""
NUMPYDOC_PAIR = """Fetch.

    Other Parameters
    ================
    channel
        slack channel name
    limit, size : int
        message limit, at most 100
"""
TABS = "Fetch.\n\n\tchannel(str): slack channel name\n\tlimit(int): message limit,\n\t\tat most 100\n"


@pytest.mark.parametrize(
    ("docstring", "text"),
    [
        (OLD_JAVADOC, "Fetch."),
        (SPHINX_TYPED, "Fetch."),
        (SECTION_WITH_GAPS, "Fetch."),
        (LISTED, "Fetch.\n\n* `limit`: not the form of a name"),
        (NUMPYDOC_PAIR, "Fetch."),
        (TABS, "Fetch."),
    ],
)
def test_other_hands_write_it_otherwise(docstring, text):
    found = parse(docstring, NAMES)
    assert found.parameters == FOUND
    assert found.text == text


def test_a_section_ends_where_its_indentation_does():
    found = parse("Fetch.\n\nArgs:\n    channel: the channel\n\nlimit is 5 by itself.\n\nNote:\n    Slow.", NAMES)
    assert found.parameters == {"channel": "the channel"}
    assert found.text == "Fetch.\n\nlimit is 5 by itself.\n\nNote:\n    Slow."


def test_only_a_line_that_is_indented_like_the_first_begins_an_entry():
    found = parse("Fetch.\n\nArgs:\n    channel: the\n        limit: of all channels\n    limit: how many", NAMES)
    assert found.parameters == {"channel": "the limit: of all channels", "limit": "how many"}


def test_a_blank_line_ends_what_is_said_in_one_line():
    found = parse("Fetch.\n\nchannel(str): the channel\n\n    An example, indented.", NAMES)
    assert found.parameters == {"channel": "the channel"}
    assert found.text == "Fetch.\n\n    An example, indented."


def test_a_heading_without_a_block_is_text():
    assert parse("Fetch.\n\nArgs:\n\nNone at all.", NAMES).text == "Fetch.\n\nArgs:\n\nNone at all."


def test_a_parameter_without_a_word_has_no_description():
    found = parse("Fetch.\n\nArgs:\n    channel (str):\n    limit: how many", NAMES)
    assert found.parameters == {"limit": "how many"}


def test_what_is_said_of_a_credential_is_not_in_the_text():
    found = parse("Fetch.\n\nchannel(str): the channel\nSLACK_BOT_TOKEN(str): token", NAMES | {"SLACK_BOT_TOKEN"})
    assert found.text == "Fetch."


@given(
    st.lists(
        st.sampled_from(sorted({*SEED.split("\n"), *GOOGLE.split("\n"), *NUMPYDOC.split("\n"), *LISTED.split("\n")}))
    )
)
def test_any_mixture_of_lines_is_read_and_none_is_made_up(lines):
    found = parse("\n".join(lines), NAMES)
    assert set(found.parameters) <= NAMES
    given_lines = {line.strip() for line in lines}
    assert {line.strip() for line in found.text.split("\n")} <= given_lines | {""}


@given(st.text("abcdchannellimit:@()-*_ \n\t", max_size=120))
def test_any_text_is_read(text):
    assert set(parse(text, NAMES).parameters) <= NAMES
