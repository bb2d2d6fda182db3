"""No secret comes through the scrubber, in whatever coding and in whatever pieces it comes back."""

import base64
import binascii
import dataclasses
import html
import itertools
import json
import pickle
import quopri
import random
import re
import string
import time
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Mapping
from types import MappingProxyType
from urllib.parse import quote, quote_plus, unquote_plus, urlencode

import pydantic
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from valetkey.scrub import Scrubber
from valetkey.secret import Secret

TOKEN = "xoxb-17-Zq3/Lm+9_Rk8.Tw~eYp4"
PASSWORD = "p\"ä%s\\ w/<&>+ö'=\n€#"


def scrubber(*values):
    return Scrubber([Secret(value) for value in values])


def percent(value, *, upper=False):
    """Each octet percent-encoded, as no library does but any decoder takes it (RFC 3986 §2.1)."""
    return "".join(f"%{octet:02X}" if upper else f"%{octet:02x}" for octet in value.encode())


def escaped(value, *, upper=False):
    """Each UTF-16 unit as JSON may have it (RFC 8259 §7)."""
    units = value.encode("utf-16-be").hex(" ", 2).split()
    return "".join("\\u" + (unit.upper() if upper else unit) for unit in units)


def entities(value, form):
    return "".join(form.format(ord(char)) for char in value)


def wrapped(value, before=40):
    """Base64 in lines of 76 characters (RFC 2045 §6.8), the secret across a line's end."""
    return base64.encodebytes(b"-" * before + value.encode() + b"-" * 9).decode()


CODINGS: dict[str, Callable[[str], str]] = {
    "as it is": lambda value: value,
    "after Bearer": lambda value: f"Authorization: Bearer {value}",
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64 urlsafe": lambda value: base64.urlsafe_b64encode(value.encode()).decode(),
    "base64 unpadded": lambda value: base64.urlsafe_b64encode(value.encode()).decode().rstrip("="),
    "base64 after one": lambda value: base64.b64encode(b":" + value.encode() + b":").decode(),
    "base64 after two": lambda value: base64.b64encode(b"u:" + value.encode() + b"\n").decode(),
    "base64 of user:secret": lambda value: base64.b64encode(f"user:{value}".encode()).decode(),
    "base64 of quoted user:secret": lambda value: base64.b64encode(f"a:{quote_plus(value)}".encode()).decode(),
    "base64 of JSON": lambda value: base64.b64encode(json.dumps({"token": value}).encode()).decode(),
    "base64 of a query": lambda value: base64.b64encode(urlencode({"k": value}).encode()).decode(),
    "base64 in lines": wrapped,
    "base64 in lines in JSON": lambda value: json.dumps({"blob": wrapped(value, 50)}),
    "base64 in lines with CRLF": lambda value: wrapped(value, 45).replace("\n", "\r\n    "),
    "base64 quoted": lambda value: quote(base64.b64encode(value.encode()).decode(), safe=""),
    "base64 quoted, slashes not": lambda value: quote(base64.b64encode(value.encode()).decode()),
    "base64 with escaped slashes": lambda value: base64.b64encode(value.encode()).decode().replace("/", "\\/"),
    "quoted": quote,
    "quoted, slashes too": lambda value: quote(value, safe=""),
    "quoted plus": quote_plus,
    "quoted lower": lambda value: re.sub("%..", lambda found: found[0].lower(), quote(value, safe="")),
    "quoted twice": lambda value: quote(quote(value, safe=""), safe=""),
    "quoted throughout": percent,
    "quoted throughout upper": lambda value: percent(value, upper=True),
    "quoted throughout twice": lambda value: quote(percent(value)),
    "query": lambda value: urlencode({"access_token": value, "a": "b"}),
    "JSON": lambda value: json.dumps({"token": value}),
    "JSON in UTF-8": lambda value: json.dumps([value], ensure_ascii=False),
    "JSON with escaped slashes": lambda value: json.dumps(value).replace("/", "\\/"),
    "JSON in JSON": lambda value: json.dumps(json.dumps({"token": value})),
    "JSON in JSON in JSON": lambda value: json.dumps(json.dumps(json.dumps([value]))),
    "JSON in a URL": lambda value: quote(json.dumps({"token": value})),
    "URL in JSON": lambda value: json.dumps(urlencode({"token": value})),
    "escaped throughout": escaped,
    "escaped throughout upper": lambda value: escaped(value, upper=True),
    "escaped throughout in JSON": lambda value: json.dumps(escaped(value)),
    "hexadecimal": lambda value: value.encode().hex(),
    "hexadecimal upper": lambda value: binascii.hexlify(value.encode()).decode().upper(),
    "HTML": html.escape,
    "HTML in ASCII": lambda value: html.escape(value).encode("ascii", "xmlcharrefreplace").decode(),
    "HTML twice": lambda value: html.escape(html.escape(value)),
    "HTML of JSON": lambda value: html.escape(json.dumps(value)),
    "HTML decimal": lambda value: entities(value, "&#{};"),
    "HTML hexadecimal": lambda value: entities(value, "&#x{:06X};"),
    "repr": repr,
    "repr in ASCII": ascii,
    "repr of bytes": lambda value: repr(value.encode()),
    "repr of repr": lambda value: repr([repr({"token": value})]),
    "hexadecimal escapes": lambda value: "".join(f"\\x{octet:02x}" for octet in value.encode()),
    "JavaScript": lambda value: entities(value, "\\u{{{:x}}}"),
    "lines with CRLF": lambda value: value.replace("\n", "\r\n"),
    "Markdown": lambda value: re.sub(r"([_*#+.!<>&/=~-])", r"\\\1", value),
}
coding = pytest.mark.parametrize("coded", CODINGS.values(), ids=CODINGS)


def bits(value):
    """Pieces of 12 characters of the secret's base64, at each alignment, without the characters that it shares."""
    for before in range(3):
        code = base64.b64encode(bytes(before) + value.encode()).decode().rstrip("=")[before + 1 : -1]
        yield from (code[at : at + 12] for at in range(len(code) - 11))


def plain(text):
    """What a reader makes of a text."""
    text = html.unescape(unquote_plus(text))
    return re.sub(r"\\(?:u([0-9a-fA-F]{4})|x(..))", lambda found: chr(int(found[1] or found[2], 16)), text)


def assert_clean(text, value, coded=None):
    assert value not in text
    assert value not in plain(text)
    assert value.encode().hex() not in text.lower()
    assert coded is None or coded not in text
    assert not [piece for piece in bits(value) if piece in text]


@coding
@pytest.mark.parametrize("value", [TOKEN, PASSWORD, "plainalphanumeric0123456789", "密码密码密码", "\U0001f600" * 8])
def test_a_secret_is_found_in_each_coding(coded, value):
    clean = scrubber(value).text(f"before {coded(value)} after")
    assert clean.startswith("before ")
    assert "***" in clean
    assert clean.endswith(" after")
    assert_clean(clean, value, coded(value))


@coding
def test_a_secret_is_found_however_a_stream_is_split(coded):
    text = f"before {coded(TOKEN)} after"
    for size in range(1, 9):
        stream = scrubber(TOKEN).stream()
        clean = "".join(stream.feed(text[at : at + size]) for at in range(0, len(text), size)) + stream.close()
        assert clean == scrubber(TOKEN).text(text)
        assert "***" in clean


def written():
    """Secrets of 8 characters and more: tokens, and any text that people may choose."""
    tokens = st.text(string.ascii_letters + string.digits + "-._~+/=", min_size=8, max_size=60)
    marks = st.text("\"'\\/%&<>+=#;?: aé€\U0001f600\n\t0xu", min_size=8, max_size=20)
    anything = st.text(st.characters(exclude_categories=["Cs"]), min_size=8, max_size=30)
    values = tokens | marks | anything
    # Stars beside stars may look like a secret of stars; white space around and a scheme are no part of a secret.
    return values.map(str.strip).filter(
        lambda value: "*" not in value and len(value) >= 8 and not re.match("(?i)bearer|basic|token", value)
    )


# Neither text on its own is one of the pieces that are looked for.
beside = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="*"), max_size=5)


@settings(max_examples=800)
@given(written(), st.sampled_from(sorted(CODINGS)), beside, beside, st.lists(st.integers(1, 9), min_size=1))
def test_no_secret_comes_through(value, name, before, after, sizes):
    assume(name != "lines with CRLF" or "\r" not in value)
    coded = CODINGS[name](value)
    text = before + coded + after
    clean = scrubber(value).text(text)
    assert_clean(clean, value, coded)

    stream, rest, pieces = scrubber(value).stream(), text, []
    for size in itertools.cycle(sizes):
        pieces.append(stream.feed(rest[:size]))
        rest = rest[size:]
        if not rest:
            break
    assert_clean("".join(pieces) + stream.close(), value, coded)


@settings(max_examples=200)
@given(written(), st.sampled_from(sorted(CODINGS)), st.binary(max_size=4), st.integers(1, 9))
def test_no_secret_comes_through_in_octets_either(value, name, before, size):
    coded = CODINGS[name](value).encode()
    assume(b"*" not in before)
    data = before + coded + before[::-1]
    clean = scrubber(value).data(data)
    assert value.encode() not in clean
    assert coded not in clean
    stream = scrubber(value).byte_stream()
    pieces = [stream.feed(data[at : at + size]) for at in range(0, len(data), size)]
    assert coded not in b"".join(pieces) + stream.close()


@settings(max_examples=300)
@given(st.binary(max_size=60), st.integers(1, 9))
def test_octets_without_a_secret_stay_as_they_are(data, size):
    assume(b"***" not in data)
    clean = scrubber(TOKEN).data(data)
    assert clean is data
    stream = scrubber(TOKEN).byte_stream()
    pieces = [stream.feed(data[at : at + size]) for at in range(0, len(data), size)]
    assert b"".join(pieces) + stream.close() == data


@settings(max_examples=300)
@given(st.text(max_size=60), st.integers(1, 9))
def test_a_text_without_a_secret_stays_as_it_is(text, size):
    assert scrubber(TOKEN, PASSWORD).text(text) is text
    stream = scrubber(TOKEN, PASSWORD).stream()
    pieces = [stream.feed(text[at : at + size]) for at in range(0, len(text), size)]
    assert "".join(pieces) + stream.close() == text


def test_any_characters_may_be_coded_and_any_not():
    draw = random.Random(7)  # noqa: S311  # the same mixtures each time
    ways: list[Callable[[str], str]] = [
        str,
        percent,
        escaped,
        lambda char: f"&#{ord(char)};",
        lambda char: quote(percent(char)),
    ]
    for _ in range(300):
        mixed = "".join(draw.choice(ways)(char) for char in TOKEN)
        assert scrubber(TOKEN).text(f"<{mixed}>") == "<***>"


def test_what_stands_around_a_secret_stays():
    assert scrubber("0123456789").text("x0123456789y 01234 56789 0123456789") == "x***y 01234 56789 ***"
    assert scrubber(TOKEN).text(f'{{"token": "{TOKEN}", "ok": true}}') == '{"token": "***", "ok": true}'
    assert scrubber(TOKEN).text(f"https://a.test/?q=%20a%2Fb&key={quote_plus(TOKEN)}&c=%C3%A9") == (
        "https://a.test/?q=%20a%2Fb&key=***&c=%C3%A9"
    )
    # The last character before has two bits of the secret's first octet; the padding tells nothing.
    assert scrubber(TOKEN).text(base64.b64encode(f"user:{TOKEN}".encode()).decode()) == "dXNlcjp***"
    assert scrubber(TOKEN).text(base64.b64encode(TOKEN.encode()).decode()) == "***=="
    # The last character may have bits of what follows, too.
    assert scrubber("abcdefgo").text(base64.urlsafe_b64encode(b"abcdefgo\xff").decode()) == "***_"


@pytest.mark.parametrize("given_as", ["Bearer {}", "bearer  {}", " {}\n", "Basic {}", "token {}\r\n"])
def test_scheme_and_white_space_are_no_part_of_a_secret(given_as):
    assert scrubber(given_as.format(TOKEN)).text(f"the token is {TOKEN}.") == "the token is ***."


@pytest.mark.parametrize("value", ["", " ", "a", "abc", "  abc ", "Bearer abc"])
def test_under_four_characters_is_not_searched(value):
    text = "abc Bearer abc YWJj"
    assert scrubber(value).text(text) is text
    assert scrubber("abcd", value).text("abcabcd abc") == "abc*** abc"


def test_secrets_that_overlap_go_as_one():
    secrets = scrubber("alpha-beta", "beta-gamma", "alpha-beta-gamma-delta", "beta")
    assert secrets.text("<alpha-beta-gamma-delta>") == "<***>"
    assert secrets.text("<alpha-beta-gamma>") == "<***>"
    assert secrets.text("<beta-gamma> <alphabeta>") == "<***> <alpha***>"
    text = "<alpha-beta-gamma> <alpha-beta-gamma-delta> <beta>"
    for size in (1, 2, 3, 7):
        stream = secrets.stream()
        pieces = [stream.feed(text[at : at + size]) for at in range(0, len(text), size)]
        assert "".join(pieces) + stream.close() == "<***> <***> <***>"


def test_a_secret_of_stars_is_not_made_by_starring():
    secrets = scrubber("*abcdefg", "00000000")
    assert "*abcdefg" not in secrets.text("00000000abcdefg")


def test_a_secret_that_is_given_twice_or_empty_does_no_harm():
    assert scrubber(TOKEN, TOKEN, "").text(TOKEN * 2) == "******"
    assert scrubber().text("abc") == "abc"
    assert scrubber().value({"a": ["b"]}) == {"a": ["b"]}
    assert scrubber().stream().feed("abc") == "abc"


def test_a_broken_character_does_no_harm():
    broken = "secret\ud800value"
    assert Scrubber([Secret(broken)]).text(f"a {broken} b") == "a *** b"
    assert scrubber(TOKEN).text(f"\ud800{TOKEN}\udfff") == "\ud800***\udfff"
    assert scrubber(TOKEN).data(b"\xff\xe2" + TOKEN.encode() + b"\xc3") == b"\xff\xe2***\xc3"


# Streams hold back no more than they must.


def test_a_stream_holds_back_only_what_may_be_the_beginning_of_a_secret():
    stream = scrubber("ghp_0123456789").stream()
    assert stream.feed("see ") == "see "
    assert stream.feed("ghp_01") == ""
    assert stream.feed("23, not it") == "ghp_0123, not it"
    assert stream.feed(" ghp_012345") == " "
    assert stream.feed("6789") == "***"
    assert stream.feed(".") == "."
    assert stream.feed("and ghp_0") == "and "
    assert stream.close() == "ghp_0"
    assert stream.close() == ""


def test_a_stream_gives_an_ordinary_text_at_once():
    stream = scrubber("ghp_0123456789").stream()
    for word in ["Once ", "upon ", "a ", "time, ", "5 % of ", "R&D ", "C:\\temp; ", '{"a": "b\\n"} ']:
        assert stream.feed(word) == word


def test_a_stream_gives_a_coding_that_turns_out_to_be_another():
    stream = scrubber("ghp_0123456789").stream()
    assert stream.feed("a%") == "a"
    assert stream.feed("20b") == "%20b"
    assert stream.feed("a&") == "a"
    assert stream.feed(" b") == "& b"


def test_a_stream_never_gives_the_beginning_of_a_secret_that_goes_on():
    stream, given_so_far = scrubber(TOKEN).stream(), ""
    for char in f"it is {TOKEN}":
        given_so_far += stream.feed(char)
        assert TOKEN[0] not in given_so_far[6:]
    assert given_so_far + stream.close() == "it is ***"


def test_a_byte_stream_splits_characters_and_secrets():
    value = "clé-secrète-€"
    data = f"avant {value} après".encode()
    stream = scrubber(value).byte_stream()
    assert b"".join(stream.feed(data[at : at + 1]) for at in range(len(data))) + stream.close() == (
        "avant *** après".encode()
    )


# Values.


@dataclasses.dataclass
class Holder:
    text: str
    more: object = None


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    text: str
    number: int = 1


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow", frozen=True)
    text: str
    holder: Holder | None = None


Pair = namedtuple("Pair", "left right")  # noqa: PYI024  # what older programs return


@pytest.mark.parametrize(
    ("value", "clean"),
    [
        (f"a {TOKEN}", "a ***"),
        (f"a {TOKEN}".encode(), b"a ***"),
        ({TOKEN: [TOKEN, {"n": (TOKEN, 5, None)}]}, {"***": ["***", {"n": ("***", 5, None)}]}),
        ({1: {f"x{TOKEN}", "y"}}, {1: {"x***", "y"}}),
        (frozenset([TOKEN]), frozenset(["***"])),
        (Pair(TOKEN, 2), Pair("***", 2)),
        (OrderedDict(a=TOKEN), {"a": "***"}),
        (MappingProxyType({"a": TOKEN}), {"a": "***"}),
        (Holder(TOKEN, [Frozen(TOKEN)]), Holder("***", [Frozen("***")])),
        (Model(text=TOKEN), Model(text="***")),
        (Model(text="a", holder=Holder("b", TOKEN)), Model(text="a", holder=Holder("b", "***"))),
    ],
)
def test_a_value_is_scrubbed_wherever_it_holds_text(value, clean):
    assert scrubber(TOKEN).value(value) == clean


def test_extra_fields_of_a_model_are_scrubbed_and_nothing_else_changes():
    model = Model(text="a", note=TOKEN)  # type: ignore[call-arg]
    clean = scrubber(TOKEN).value(model)
    assert isinstance(clean, Model)
    assert clean.model_dump(exclude_unset=True) == {"text": "a", "note": "***"}
    assert model.model_dump()["note"] == TOKEN


def test_a_number_that_is_a_secret_is_scrubbed():
    assert scrubber("4242424242").value({"pin": 4242424242, "n": 42, "yes": True}) == {
        "pin": "***",
        "n": 42,
        "yes": True,
    }


def test_a_value_without_a_secret_is_the_same_object():
    value = {"a": [1, 2.5, None, True, "x" * 50, b"y"], "b": (Holder("t"), Model(text="m")), "c": {frozenset([1])}}
    assert scrubber(TOKEN, PASSWORD).value(value) is value


def test_parts_without_a_secret_are_the_same_objects():
    kept = [1, {"a": "b"}]
    clean = scrubber(TOKEN).value({"kept": kept, "token": TOKEN})
    assert isinstance(clean, dict)
    assert clean["kept"] is kept


def test_what_is_given_is_not_changed():
    value = {"a": [TOKEN, Holder(TOKEN)]}
    scrubber(TOKEN).value(value)
    assert value == {"a": [TOKEN, Holder(TOKEN)]}


@pytest.mark.parametrize("value", [ValueError(TOKEN), Holder, len, Secret(TOKEN), object(), iter([TOKEN])])
def test_what_is_no_container_is_left_alone(value):
    assert scrubber(TOKEN).value(value) is value


def test_a_value_that_holds_itself_is_no_trouble():
    clean_loop: list[object] = ["a"]
    clean_loop.append(clean_loop)
    assert scrubber(TOKEN).value(clean_loop) is clean_loop

    loop: dict[str, object] = {"token": TOKEN}
    loop["self"] = [loop]
    assert scrubber(TOKEN).value(loop) == {"token": "***", "self": ["***"]}


def test_a_value_that_shares_its_parts_a_billion_times_is_no_trouble():
    value: list[object] = [TOKEN]
    for _ in range(60):
        value = [value, value]
    clean = scrubber(TOKEN).value(value)
    for _ in range(60):
        assert isinstance(clean, list)
        assert clean[0] is clean[1]
        clean = clean[0]
    assert clean == ["***"]


def test_what_lies_too_deep_is_starred():
    value: object = [TOKEN]
    for _ in range(5000):
        value = [value]
    clean, depth = scrubber(TOKEN).value(value), 0
    while isinstance(clean, list):
        clean, depth = clean[0], depth + 1
    assert (clean, depth) == ("***", 100)


class Odd(Mapping[str, str]):
    """A mapping that makes its values when asked."""

    def __getitem__(self, key: str) -> str:
        return f"{key} {TOKEN}"

    def __iter__(self):
        return iter(["a", "b"])

    def __len__(self):
        return 2


def test_a_mapping_that_makes_its_values_is_read_once_and_kept():
    assert scrubber(TOKEN).value(Odd()) == {"a": "a ***", "b": "b ***"}


# What it keeps, and what it costs.


def test_a_scrubber_shows_no_secret_and_cannot_be_pickled():
    secrets = scrubber(TOKEN)
    secrets.text(percent(TOKEN))
    assert TOKEN not in repr(secrets)
    with pytest.raises(TypeError) as refused:
        pickle.dumps(secrets)
    assert TOKEN not in str(refused.value)


def test_no_pattern_is_compiled_from_a_secret():
    value = "kX7-qJ9/wZ2+vB5"
    for coded in CODINGS.values():
        scrubber(value).text(coded(value))
        scrubber(value).stream().feed(coded(value))
    cache: dict[tuple[object, str, int], object] = re._cache  # type: ignore[attr-defined]
    assert len(cache) > 10
    pieces = {value[at : at + 3] for at in range(len(value) - 2)} | set(bits(value)) | {value.encode().hex()[:6]}
    assert not [pattern for _, pattern, _ in cache if any(piece in str(pattern) for piece in pieces)]


def fastest(work, times):
    """Seconds for one run, at the best of many: what else the machine does then counts least."""
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def test_a_tool_call_is_scrubbed_in_a_few_microseconds():
    secret = Secret("xoxb-" + "a1B2c3D4e5" * 3 + "fG6h7")
    result = json.dumps({"ok": True, "text": 'say "hello"\n', "url": "https://a.test/%20b?c=d&e=f", "n": [1.5] * 20})
    assert 150 < len(result) < 250
    # About 10 µs against 2 µs on the machine it was made on, for which the bound is 20 µs.
    reference = fastest(lambda: json.dumps(["abc", 1] * 20), 3000)
    assert fastest(lambda: Scrubber([secret]).text(result), 3000) < 10 * reference


def test_a_text_of_a_megabyte_is_scrubbed_in_passing():
    draw = random.Random(3)  # noqa: S311  # the same texts each time
    values = ["".join(draw.choices(string.ascii_letters + string.digits + "-_", k=40)) for _ in range(3)]
    page = (json.dumps({"a": 'b "c" \n', "d": "https://e.test/%20f?g=h&i=j"}) * 20_000)[:1_000_000]
    blob = base64.b64encode(draw.randbytes(750_000)).decode()
    reference = fastest(lambda: json.loads(json.dumps({"page": page})), 5)
    for text in (page, blob, page + values[0], page + CODINGS["base64 of user:secret"](values[1])):
        # About 15 ms; the bound is 50 ms where reading and writing a megabyte of JSON takes 10 ms.
        assert fastest(lambda text=text: scrubber(*values).text(text), 5) < 6 * reference


@pytest.mark.parametrize(
    "hostile",
    [
        "%41" * 330_000,
        "\\" * 1_000_000,
        "\\u0078" * 160_000,
        "&amp;" * 200_000,
        "%25" * 330_000,
        "xoxb-17-" * 120_000,
        percent("xoxb-17-Zq3") * 30_000,
        base64.b64encode(TOKEN.encode()).decode()[:20] * 40_000,
        "\r\n" * 500_000,
        "&#0000" * 160_000,
    ],
    ids=lambda text: text[:12].replace("\r\n", "crlf"),
)
def test_a_hostile_text_costs_time_in_proportion_only(hostile):
    begun = time.process_time()
    assert scrubber(TOKEN, PASSWORD, "\\" * 20 + "abc").text(hostile + TOKEN).endswith("***")
    assert time.process_time() - begun < 20


def test_quoted_printable_is_not_promised():
    # It breaks lines within a token and codes "=" only; said here so that nobody takes it for granted.
    assert "***" not in scrubber(PASSWORD).text(quopri.encodestring(PASSWORD.encode()).decode())
