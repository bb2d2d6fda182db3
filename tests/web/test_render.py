"""An error looks the same wherever it is shown."""

import pytest

from valetkey import errors
from valetkey.entrypoints.render import exit_status, http_status, rendering


def every(kind: type[errors.ValetkeyError] = errors.ValetkeyError) -> list[type[errors.ValetkeyError]]:
    """The tree as Python knows it, without what tests derive."""
    below = [one for one in kind.__subclasses__() if one.__module__ == errors.__name__]
    return [kind, *(each for one in below for each in every(one))]


@pytest.mark.requirement("d.errors-identity")
def test_every_error_of_the_tree_has_a_row_of_its_own() -> None:
    assert set(every()) == set(errors.RENDERINGS)


@pytest.mark.parametrize(
    ("kind", "http", "code"),
    [
        (errors.Unauthenticated, 401, 3),
        (errors.Denied, 403, 4),
        (errors.AuthExpired, 410, 4),
        (errors.InvalidArguments, 400, 2),
        (errors.PortTaken, 503, 2),
    ],
)
def test_the_status_is_that_of_the_table(kind: type[errors.ValetkeyError], http: int, code: int) -> None:
    assert (http_status(kind("x")), exit_status(kind)) == (http, code)


def test_somebody_elses_error_looks_like_its_nearest_base() -> None:
    class QuotaSpent(errors.Denied):
        """An error of a host program."""

    assert rendering(QuotaSpent("x")) is errors.RENDERINGS[errors.Denied]
