"""Who saw a secret: what was sent where, and a search for every secret in every place where none may be."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from valetkey.cli.demo_app import TOKEN, DemoApp, StepFailed
from valetkey.testing.canary import find

if TYPE_CHECKING:
    from valetkey.testing.oauth_server import OAuthServer


class Proof:
    """What the demo found at its end.

    Args:
        apps: the runs of the app, ended.
        server: the mail service.
        folder: what the app wrote is in it.
        printed: what the demo printed, by the name of the place.
        told_token: whether a person was told the token of the shop, so that it was printed.
    """

    def __init__(
        self,
        apps: Sequence[DemoApp],
        server: OAuthServer,
        folder: Path,
        *,
        printed: Mapping[str, str],
        told_token: bool,
    ) -> None:
        self._apps = apps
        self._server = server
        self._folder = folder
        self._printed = printed
        self._told_token = told_token

    def shop_calls(self) -> list[tuple[str, str]]:
        """What the shop was asked, and with what."""
        return [(seen["call"], _cut(seen["credential"])) for app in self._apps for seen in app.told("api")]

    def mail_calls(self) -> list[tuple[str, str]]:
        """What the mail service was asked, and with what."""
        return [(call, _cut(credential)) for call, credential in mail_calls(self._server)]

    def search(self) -> tuple[int, int]:
        """Look for every secret in every place where none may be; how many of each.

        Raises:
            StepFailed: one was found, or the search does not find one even where it has to be.
        """
        lent = [*self._server.issued, *self._server.codes, *filter(None, [self._server.client.secret])]
        places = self._places()
        found = find({**places, **self._printed}, lent)
        found += find(places if self._told_token else {**places, **self._printed}, [TOKEN])
        had = [seen["credential"] for app in self._apps for seen in app.told("api")]
        control = {sighting.secret for sighting in find({"": "\n".join(had)}, [TOKEN, *lent])}
        if TOKEN not in control or control == {TOKEN}:
            raise StepFailed("the search does not find a token even where one has to be.")
        if found:
            seen = ", ".join(sorted({f"{each.place} ({each.form})" for each in found}))
            raise StepFailed(f"a secret was found in: {seen}.", "Please report this as a fault of Valetkey.")
        return len(lent) + 1, len(places) + len(self._printed)

    def _places(self) -> dict[str, str | bytes]:
        """All but what was printed here."""
        files = [path for path in sorted(self._folder.rglob("*")) if path.is_file()]
        runs = list(zip(("", " after the restart"), self._apps, strict=False))
        return {
            **{f"what the model saw{when}": _written(app, "model", "reply") for when, app in runs},
            **{f"what the page got{when}": _written(app, "frame") for when, app in runs},
            **{f"the shop's log{when}": app.logged for when, app in runs},
            **{f"file {path.name}": path.read_bytes() for path in files},
        }


def mail_calls(server: OAuthServer) -> list[tuple[str, str]]:
    """Each request to the mailbox, and the Authorization header that it brought."""
    path = urlsplit(server.mail_url).path
    return [
        (f"GET {path}{_query(request.query)}", request.headers.get("authorization", ""))
        for request in server.requests
        if request.path == path
    ]


def _query(query: Mapping[str, str]) -> str:
    return "?" + "&".join(f"{name}={value}" for name, value in query.items()) if query else ""


def _cut(header: str) -> str:
    """A credential of which only the beginning shows."""
    scheme, _, token = header.partition(" ")
    return f"Authorization: {scheme} ***{token[:4]}…" if token else "no credential"


def _written(app: DemoApp, *kinds: str) -> str:
    return _lines(app.told(*kinds))


def _lines(told: Iterable[Mapping[str, Any]]) -> str:
    return "\n".join(json.dumps(each, ensure_ascii=False) for each in told)
