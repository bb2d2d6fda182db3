"""The tree drawn at the top of errors.py is the tree of classes, and each error is rendered on each surface."""

import re

import pytest

from valetkey import errors
from valetkey.errors import RENDERINGS, ValetkeyError

NODE = re.compile(r"(?P<branch>[│├└─ ]*)(?P<name>\w+)(?: \((?P<builtin>[\w.]+)\))?(?: {2,}(?P<what>.+))?")


def drawn():
    """Name, parent, built-in parent and meaning of each class in the docstring's tree."""
    tree = (errors.__doc__ or "").partition("\n\n")[2].strip().splitlines()
    found: list[tuple[str, str | None, str | None, str | None]] = []
    path: list[str] = []
    for line in tree:
        node = NODE.fullmatch(line)
        assert node, f"not a line of the tree: {line!r}"
        depth = len(node["branch"]) // 4
        del path[depth:]
        found.append((node["name"], path[-1] if path else None, node["builtin"], node["what"]))
        path.append(node["name"])
    return found


def below(cls):
    yield cls
    for child in cls.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from below(child)


CLASSES = sorted(below(ValetkeyError), key=lambda cls: cls.__name__)


def test_the_tree_names_each_class_once():
    names = [name for name, *_ in drawn()]
    assert sorted(names) == [cls.__name__ for cls in CLASSES]


@pytest.mark.parametrize(("name", "parent", "builtin", "what"), drawn()[1:])
def test_a_class_has_the_parents_that_are_drawn(name, parent, builtin, what):
    bases = [base.__name__ for base in getattr(errors, name).__bases__]
    assert bases == [parent] + ([builtin.rpartition(".")[2]] if builtin else [])
    assert what, "a class without a word on what it means"


def test_codes_are_unique_and_stable_in_form():
    codes = [cls.code for cls in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)
    # Programs match these: changing one breaks them.
    assert {"unknown_tool", "invalid_arguments", "auth_required", "auth_refused", "denied"} <= set(codes)


@pytest.mark.requirement("d.errors-identity")
def test_each_class_is_rendered_on_each_surface():
    assert set(RENDERINGS) == set(CLASSES)
    for cls, row in RENDERINGS.items():
        assert 400 <= row.http <= 599, cls
        # RFC 6455 §7.4: 1011 server error, 1013 try again later; 4000-4999 are an application's own.
        assert row.close in {1011, 1013} or 4000 <= row.close <= 4999, cls
        assert 1 <= row.exit <= 125, cls  # 126 and up are the shell's


def test_an_error_that_could_pass_later_says_so_alike_on_http_and_websocket():
    later = {cls for cls, row in RENDERINGS.items() if row.close == 1013}
    assert later == {cls for cls in later if RENDERINGS[cls].http in {429, 503}}
    assert errors.ProviderUnavailable in later


def made(cls):
    match cls.__name__:
        case "AuthRequired":
            return cls("do this", url="https://login.test/a", provider="slack")
        case "ExchangeFailed":
            return cls("do this", sent=True)
        case "RateLimited":
            return cls("do this", retry_after=7)
        case "ApprovalRequired":
            return cls("do this", url="https://login.test/a")
        case _:
            return cls("do this")


@pytest.mark.parametrize("cls", CLASSES)
def test_the_text_is_what_was_said(cls):
    error = made(cls)
    assert str(error) == "do this"
    assert error.message == "do this"
    assert error.args == ("do this",)


def test_the_text_of_a_key_error_is_not_its_repr():
    assert str(KeyError("do this")) == "'do this'"
    assert str(errors.UnknownTool("do this")) == "do this"


def test_old_names_catch_new_errors():
    with pytest.raises(KeyError):
        raise errors.UnknownTool("no tool")
    with pytest.raises(ValueError, match="no fit"):
        raise errors.InvalidArguments("no fit")
    with pytest.raises(TimeoutError):
        raise errors.AuthExpired("too late")
    with pytest.raises(PermissionError):
        raise errors.Denied("no")


def test_what_a_caller_needs_is_on_the_error():
    required = made(errors.AuthRequired)
    assert (required.url, required.provider) == ("https://login.test/a", "slack")
    assert made(errors.ExchangeFailed).sent is True
    assert made(errors.RateLimited).retry_after == 7
    assert made(errors.ApprovalRequired).url == "https://login.test/a"
