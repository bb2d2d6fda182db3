"""valetkey tokens, valetkey apikeys: what we issued to programs and people."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from valetkey.cli.options import Json
from valetkey.cli.output import plain, print_json, print_table

if TYPE_CHECKING:
    from valetkey.model.tokens import Token, TokenKind
    from valetkey.wiring.identity import Identity

tokens = App(name="tokens", help="Access tokens, sessions and all else that was issued here.")
apikeys = App(name="apikeys", help="API keys, for programs.")

User = Annotated[str, Parameter(help="Whose it is: the name of an account.")]
AnyUser = Annotated[str | None, Parameter(show_default=False, help="Only those of this account; by default all.")]
Name = Annotated[str, Parameter(show_default=False, help="A name for it, to tell it from others.")]
Workspace = Annotated[
    str | None, Parameter(show_default=False, help="Only for this workspace; by default for all that the user may.")
]
Grant = Annotated[Literal["read", "read_write", "admin"], Parameter(help="What it may there, with --workspace.")]
Scope = Annotated[
    list[str] | None,
    Parameter(negative="", show_default=False, help="Only for this purpose, such as files:read; several."),
]
Ends = Annotated[
    str | None, Parameter(name="--expires-in", show_default=False, help="Seconds, or such as 90m, 12h, 30d.")
]
Server = Annotated[
    str | None,
    Parameter(
        name="--public-base-url", show_default=False, help="Of the server, where it has one that settings do not name."
    ),
]
Id = Annotated[str, Parameter(help="Its id, as the list shows it.")]


@tokens.command(name="create")
def create_token(
    *,
    user: User,
    name: Name = "",
    workspace: Workspace = None,
    permission: Grant = "read_write",
    scope: Scope = None,
    expires_in: Ends = None,
    public_base_url: Server = None,
) -> None:
    """Make an access token (JWT), and print it once, alone on standard output. By default it lives for an hour.

    It is good at the server whose issuer it names: by default the server's public address.
    """
    from valetkey.model.tokens import TokenKind

    _create(TokenKind.ACCESS, user, name, workspace, permission, scope or [], expires_in, public_base_url)


@tokens.command(name="list")
def list_tokens(*, user: AnyUser = None, as_json: Json = False) -> None:
    """List what is good still: access tokens, sessions, and those of your own generator; not API keys."""
    from valetkey.model.tokens import TokenKind

    _list(frozenset(TokenKind) - {TokenKind.API_KEY}, user, "There is no token here.", as_json=as_json)


@tokens.command(name="revoke")
def revoke_token(token_id: Id, /) -> None:
    """End a token, session or key, and all that was made with it, everywhere within 5 seconds."""
    _revoke(token_id, None)


@apikeys.command(name="create")
def create_key(
    *,
    user: User,
    name: Name = "",
    workspace: Workspace = None,
    permission: Grant = "read_write",
    scope: Scope = None,
    expires_in: Ends = None,
) -> None:
    """Make an API key, and print it once, alone on standard output. By default it lives until it is revoked."""
    from valetkey.model.tokens import TokenKind

    _create(TokenKind.API_KEY, user, name, workspace, permission, scope or [], expires_in)


@apikeys.command(name="list")
def list_keys(*, user: AnyUser = None, as_json: Json = False) -> None:
    """List the API keys that are good still, with their last use."""
    from valetkey.model.tokens import TokenKind

    _list(frozenset({TokenKind.API_KEY}), user, "There is no API key here.", as_json=as_json)


@apikeys.command(name="revoke")
def revoke_key(key_id: Id, /) -> None:
    """End an API key, and all that was made with it, everywhere within 5 seconds."""
    from valetkey.model.tokens import TokenKind

    _revoke(key_id, TokenKind.API_KEY)


def _create(
    kind: TokenKind,
    user: str,
    name: str,
    workspace: str | None,
    permission: str,
    scopes: list[str],
    expires_in: str | None,
    public_base_url: str | None = None,
) -> None:
    from valetkey.cli.identity import account_named, opened_identity, seconds_of
    from valetkey.errors import InvalidArguments
    from valetkey.identity.narrowing import restricted
    from valetkey.model.users import UserPermission

    seconds = None if expires_in is None else seconds_of(expires_in)
    with opened_identity(public_base_url=public_base_url) as identity:
        account = account_named(identity, user)
        if account.disabled:
            raise InvalidArguments(f"The account {account.name} is disabled. See: valetkey users enable")
        bearer = restricted(
            identity.accounts.user_of(account),
            workspace=workspace,
            permission=UserPermission[permission],
            extra_scopes=scopes,
        )
        owner = identity.accounts.owner_of(account)
        secret, token = identity.system.home.block(
            lambda: identity.tokens.issue(kind, bearer, owner, expires_in=seconds, name=name)
        )
    what = "API key" if token.digest else "token"
    where = "" if token.digest else f" for {plain(identity.signer.issuer)}"
    print(f"The {what} {token.id} of {account.name}{where}, which is shown only now:", file=sys.stderr)
    print(secret.reveal())


def _list(kinds: Collection[TokenKind], user: str | None, nothing: str, *, as_json: bool) -> None:
    from valetkey.cli.identity import account_named, opened_identity

    with opened_identity() as identity:
        subject = None if user is None else account_named(identity, user).id
        found = identity.system.home.block(lambda: identity.tokens.every(kinds=kinds))
    rows = [_row(token) for token in found if subject in {None, token.owner.subject}]
    if as_json:
        print_json(rows)
    elif rows:
        columns = ("id", "kind", "name", "user", "workspace", "scopes", "expires", "last used")
        print_table(columns, ([_cell(row, column) for column in columns] for row in rows))
    else:
        print(nothing)


def _revoke(token_id: str, kind: TokenKind | None) -> None:
    from valetkey.cli.identity import BY, opened_identity

    with opened_identity() as identity:
        token = _found(identity, token_id, kind)
        count = identity.system.home.block(lambda: identity.tokens.end(token, by=BY))
    made_with = f", with {count - 1} that were made with it" if count > 1 else ""
    print(f"{plain(token.id)} is revoked{made_with}." if count else f"{plain(token.id)} was revoked already.")


def _found(identity: Identity, token_id: str, kind: TokenKind | None) -> Token:
    from valetkey.errors import NotFound

    token = identity.system.home.block(lambda: identity.tokens.find(token_id))
    if token is None or (kind is not None and token.kind is not kind):
        command = "tokens" if kind is None else "apikeys"
        raise NotFound(f"There is none of the id {plain(token_id)!r}. See: valetkey {command} list")
    return token


def _row(token: Token) -> dict[str, Any]:
    scope = token.user.scope
    return {
        "id": token.id,
        "kind": token.kind.value,
        "name": token.name,
        "user": token.user.id,
        "owner": {
            "workspace": token.owner.workspace,
            "issuer": token.owner.issuer,
            "subject": token.owner.subject,
        },
        "workspaces": {} if scope is None else {name: held.value for name, held in scope.workspaces.items()},
        "scopes": [] if scope is None else list(scope.extra_scopes),
        "client_id": None if scope is None else scope.client_id,
        "parent": token.parent or None,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "last_used_at": token.last_used_at,
        "address": token.address or None,
        "agent": token.agent or None,
    }


def _cell(row: dict[str, Any], column: str) -> str:
    from valetkey.cli.identity import moment_of

    match column:
        case "workspace":
            return str(row["owner"]["workspace"])
        case "scopes":
            held = [f"{name}#{permission}" for name, permission in row["workspaces"].items()]
            return " ".join([*held, *row["scopes"]])
        case "expires":
            return moment_of(row["expires_at"]) or "never"
        case "last used":
            return moment_of(row["last_used_at"]) or "never"
        case _:
            return str(row[column])
