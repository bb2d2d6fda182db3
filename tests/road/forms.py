"""A person without a browser: fills in our form for pasted values, and saves the time that TLS takes."""

import re
from dataclasses import dataclass
from urllib.parse import urlencode, urljoin

from tests.road.support import Page, Ports, get, send


def over_http(url: str, ports: Ports) -> str:
    """The same page at the port without TLS."""
    return url.replace(f"https://localhost:{ports.public}/", f"http://localhost:{ports.internal}/")


@dataclass(frozen=True)
class Form:
    """The form as it was shown, with what binds it to the browser."""

    shown: Page
    action: str
    csrf: str
    cookie: str

    def body(self, **values: str) -> str:
        return urlencode({"csrf": self.csrf, **values})

    @property
    def headers(self) -> dict[str, str]:
        return {
            "content-type": "application/x-www-form-urlencoded",
            "cookie": self.cookie,
            "sec-fetch-site": "same-origin",
            "origin": "null",
        }

    def send(self, *, follow: bool = True, **values: str) -> Page:
        return send("POST", self.action, self.body(**values), follow=follow, headers=self.headers)


def open_form(url: str) -> Form:
    page = get(url)
    assert page.status == 200, page.body
    found = re.search(r'<form method="post" action="([^"]+)"', page.body)
    hidden = re.search(r'name="csrf" value="([0-9a-f]+)"', page.body)
    assert found is not None
    assert hidden is not None
    cookie = page.headers["set-cookie"].partition(";")[0]
    return Form(page, urljoin(url, found[1].replace("&amp;", "&")), hidden[1], cookie)
