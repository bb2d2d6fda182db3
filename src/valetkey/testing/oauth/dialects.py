"""How a provider departs from RFC 6749, as data; five dialects that cover most departures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One provider's habits. The defaults are RFC 6749's; change single ones with ``dataclasses.replace``.

    Attributes:
        scope_parameter: what the authorization request calls its scopes.
        scope_separator: what stands between scopes, in requests and answers.
        refresh_by: the authorization parameter and value without which no refresh token is issued.
        issues_refresh: whether there are refresh tokens at all.
        rotates: whether a refresh answer may bring a new refresh token, if the server rotates.
        repeats_refresh: whether an unrotated refresh answer names the old refresh token again.
        request: coding of the token request's body.
        client_auth: the only client authentication methods taken; None leaves it to each client.
        user_agent: whether a token request needs a User-Agent of the client's own.
        answer: coding of the token answer; ``form`` gives way to ``Accept: application/json``.
        token_at: the path of object names in the JSON answer under which the token's fields lie.
        refreshed_at: the same for a refresh answer.
        beside: fields at the top of each successful answer.
        subject_field: the field, beside the token, that names the user; None leaves it out.
        token_type: as the answer spells it; None leaves it out.
        expires_in: whether the life of the token is a number, a string or not told.
        tells_scope: whether the answer names the granted scopes.
        error_status: HTTP status of every token error; None is RFC 6749 §5.2's 400 or 401.
        error_beside: fields beside ``error``.
        errors: its error codes, by what is wrong (``code``, ``refresh_token``, ``redirect_uri``) or code.
        access_prefix: how access tokens begin.
        refresh_prefix: how refresh tokens begin.
    """

    scope_parameter: str = "scope"
    scope_separator: str = " "
    refresh_by: tuple[str, str] | None = None
    issues_refresh: bool = True
    rotates: bool = True
    repeats_refresh: bool = False
    request: Literal["form", "json"] = "form"
    client_auth: frozenset[str] | None = None
    user_agent: bool = False
    answer: Literal["json", "form"] = "json"
    token_at: tuple[str, ...] = ()
    refreshed_at: tuple[str, ...] = ()
    beside: Mapping[str, object] = field(default_factory=dict)
    subject_field: str | None = None
    token_type: str | None = "Bearer"
    expires_in: Literal["number", "string", "absent"] = "number"
    tells_scope: bool = True
    error_status: int | None = None
    error_beside: Mapping[str, object] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    access_prefix: str = ""
    refresh_prefix: str = ""

    def split_scopes(self, text: str) -> tuple[str, ...]:
        """The scopes in a scope parameter, each once, in their order."""
        parts = (part.strip() for part in text.split(self.scope_separator))
        return tuple(dict.fromkeys(part for part in parts if part))

    def error_code(self, code: str, about: str) -> str:
        """This provider's code for an RFC 6749 §5.2 error."""
        return self.errors.get(about) or self.errors.get(code) or code

    def token_fields(
        self, *, access: str, refresh: str | None, lifetime: float, scopes: tuple[str, ...], subject: str
    ) -> dict[str, object]:
        """The token's own fields (RFC 6749 §5.1), in this dialect."""
        fields: dict[str, object] = {"access_token": access}
        if self.token_type is not None:
            fields["token_type"] = self.token_type
        if self.expires_in != "absent":
            fields["expires_in"] = str(int(lifetime)) if self.expires_in == "string" else int(lifetime)
        if refresh is not None:
            fields["refresh_token"] = refresh
        if self.tells_scope:
            fields["scope"] = self.scope_separator.join(scopes)
        if self.subject_field is not None:
            fields[self.subject_field] = subject
        return fields

    def place(self, fields: Mapping[str, object], *, refreshed: bool) -> dict[str, object]:
        """The whole answer: the token's fields where this dialect puts them."""
        answer = dict(self.beside)
        inner = answer
        for name in self.refreshed_at if refreshed else self.token_at:
            deeper: dict[str, object] = {}
            inner[name] = deeper
            inner = deeper
        inner.update(fields)
        return answer


RFC = Dialect()
"""RFC 6749 and nothing else."""

SLACK = Dialect(
    scope_parameter="user_scope",
    scope_separator=",",
    token_at=("authed_user",),
    beside={"ok": True, "app_id": "A0TEST0001"},
    subject_field="id",
    token_type="user",
    error_status=200,
    error_beside={"ok": False},
    errors={
        "code": "invalid_code",
        "refresh_token": "invalid_refresh_token",
        "redirect_uri": "bad_redirect_uri",
        "invalid_client": "bad_client_secret",
    },
    access_prefix="xoxe.xoxp-1-",
    refresh_prefix="xoxe-1-",
)
"""docs.slack.dev, oauth.v2.access: a token in ``authed_user``, refreshed ones on top, errors with 200."""

GITHUB = Dialect(
    scope_separator=",",
    answer="form",
    token_type="bearer",
    error_status=200,
    errors={
        "code": "bad_verification_code",
        "refresh_token": "bad_refresh_token",
        "redirect_uri": "redirect_uri_mismatch",
        "invalid_client": "incorrect_client_credentials",
    },
    access_prefix="ghu_",
    refresh_prefix="ghr_",
)
"""docs.github.com, OAuth and GitHub apps: form-encoded unless asked for JSON, errors with 200."""

NOTION = Dialect(
    request="json",
    client_auth=frozenset({"basic"}),
    subject_field="bot_id",
    token_type="bearer",
    expires_in="absent",
    tells_scope=False,
    beside={"workspace_name": "Test workspace", "workspace_id": "0f1e2d3c-test"},
    access_prefix="ntn_",
    refresh_prefix="nrt_",
)
"""developers.notion.com, create a token: JSON in, Basic only, neither life nor scopes told."""

REDDIT = Dialect(
    refresh_by=("duration", "permanent"),
    rotates=False,
    client_auth=frozenset({"basic"}),
    user_agent=True,
    token_type="bearer",
)
"""The OAuth2 page of Reddit's wiki: Basic only, a User-Agent of one's own, refresh tokens that stay."""

GOOGLE = Dialect(refresh_by=("access_type", "offline"), rotates=False, access_prefix="ya29.", refresh_prefix="1//")
"""developers.google.com, web server apps: refresh tokens for ``access_type=offline``, never rotated."""
