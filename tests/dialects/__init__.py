"""What providers expect and answer, from their documentation. README.md says what each key means."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ALL = tuple(sorted(path.stem for path in HERE.glob("*.toml")))

BLANK = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the provider sends back."""

    status: int
    content_type: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gives:
    """What is to be understood from a good answer."""

    access_token: str
    refresh_token: str | None
    lifetime: float | None
    scopes: frozenset[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """The authorization URL, in its parts."""

    url: str
    parameters: Mapping[str, str]
    scope_parameter: str
    scope_separator: str
    asked: tuple[str, ...]
    sent: frozenset[str]

    @property
    def pkce(self) -> bool:
        """Whether a challenge is sent."""
        return "code_challenge" in self.parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request to the token endpoint, a good answer to it, and what that gives."""

    url: str
    client_auth: str
    content_type: str
    headers: Mapping[str, str]
    fields: Mapping[str, str]
    answer: Answer
    gives: Gives


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """A request to the revocation endpoint."""

    url: str
    client_auth: str
    content_type: str
    fields: Mapping[str, str]
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer that brings no token, and what it means by RFC 6749 §5.2."""

    step: str
    answer: Answer
    means: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One provider's."""

    provider: str
    handler: str
    pages: Mapping[str, str]
    settings: Mapping[str, str]
    authorization: Authorization
    token: Exchange
    refresh: Exchange | None
    revocation: Revocation | None
    errors: tuple[Refusal, ...]


def filled(template: str, values: Mapping[str, str]) -> str:
    """The text with the flow's values in place of `{names}`."""
    return BLANK.sub(lambda found: values[found[1]], template)


def load(name: str) -> Dialect:
    """The dialect of that provider. A key that README.md does not know is an error."""
    document = tomllib.loads((HERE / f"{name}.toml").read_text(encoding="utf-8"))
    authorization = document.pop("authorization")
    errors = document.pop("errors", [])
    refresh, revocation = document.pop("refresh", None), document.pop("revocation", None)
    return Dialect(
        settings=document.pop("settings", {}),
        authorization=Authorization(
            asked=tuple(authorization.pop("asked")),
            sent=frozenset(authorization.pop("sent")),
            scope_separator=authorization.pop("scope_separator", ""),
            **authorization,
        ),
        token=_exchange(document.pop("token")),
        refresh=None if refresh is None else _exchange(refresh),
        revocation=None if revocation is None else Revocation(answer=_answer(revocation.pop("answer")), **revocation),
        errors=tuple(Refusal(step=each.pop("step"), means=each.pop("means"), answer=_answer(each)) for each in errors),
        **document,
    )


def _exchange(table):
    gives = table.pop("gives")
    scopes = gives.pop("scopes", None)
    return Exchange(
        headers=table.pop("headers", {}),
        answer=_answer(table.pop("answer")),
        gives=Gives(
            access_token=gives.pop("access_token"),
            refresh_token=gives.pop("refresh_token", None),
            lifetime=gives.pop("lifetime", None),
            scopes=None if scopes is None else frozenset(scopes),
            **gives,
        ),
        **table,
    )


def _answer(table):
    return Answer(
        status=table.pop("status", 200),
        content_type=table.pop("content_type", "application/json"),
        body=table.pop("body", ""),
        **table,
    )
