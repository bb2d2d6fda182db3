"""hypha-login: start, check, report; its callbacks are interactions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from pydantic import ValidationError

from valetkey.errors import (
    AuthExpired,
    AuthRefused,
    CouldNotTell,
    InvalidAnswer,
    InvalidAuthState,
    StoreUnavailable,
    Unauthenticated,
)
from valetkey.identity.asked import LoginRequest, about_of, check_workspace, number, request_of, waited, whole_seconds
from valetkey.identity.minting import DAY, Minting, PermissionOf, user_of
from valetkey.interactions.states import ENDED, RESOLVED, WAITING, Event
from valetkey.limits import LOGIN_STARTS_FROM_ADDRESS
from valetkey.model.audit import Action, Entry
from valetkey.model.caller import ANONYMOUS, Caller, Owner
from valetkey.model.calls import BEARER, Presented
from valetkey.model.interactions import Interaction, InteractionKind, Phase
from valetkey.model.users import UserTokenInfo
from valetkey.model.workspaces import PUBLIC
from valetkey.secret import Secret

if TYPE_CHECKING:
    from valetkey.audit import Audit
    from valetkey.identity.chain import Chain
    from valetkey.identity.plugin import AuthPlugin
    from valetkey.identity.tokens import Tokens
    from valetkey.interactions.service import Interactions
    from valetkey.limits import Limits
    from valetkey.ports.world import Clock, Entropy

SERVICE = "hypha-login"
PAGE = f"/{PUBLIC}/apps/{SERVICE}/"
NOBODY = Owner(workspace=PUBLIC, issuer=ANONYMOUS, subject="login")
"""Owns what a program asks for before anybody says who they are."""

UNKNOWN_KEY = "Invalid key, key does not exist"
UNKNOWN_OR_LATE = "Invalid key, key does not exist or expired"

_TOPIC = "login:"
_LONGEST_KEY = 128
_NAME = 64  # characters that seed 004 keeps of a name


class LoginService:
    """Signs programs in: one starts, a person says yes in a browser, the program gets the token, once.

    Args:
        base_url: the public address, without a slash at its end.
        wait: seconds that a login waits for its person (``MAXIMUM_LOGIN_TIME``).
        permission_of: what a caller may do in a workspace.
        plugin: what ``register_auth_service`` put in place; its generator makes the tokens.
        lifetime, longest: seconds that a token lives when nobody says, and at most.
        profile_path, logout_path: our pages.
    """

    def __init__(
        self,
        *,
        interactions: Interactions,
        tokens: Tokens,
        chain: Chain,
        audit: Audit,
        limits: Limits,
        clock: Clock,
        entropy: Entropy,
        base_url: Callable[[], str],
        wait: float,
        permission_of: PermissionOf | None = None,
        plugin: AuthPlugin | None = None,
        lifetime: float = 3600.0,
        longest: float = 31 * DAY,
        profile_path: str = "/account",
        logout_path: str = "/account",
    ) -> None:
        self._interactions = interactions
        self._minting = Minting(
            tokens=tokens,
            clock=clock,
            plugin=plugin,
            permission_of=permission_of,
            lifetime=lifetime,
            longest=longest,
        )
        self._chain = chain
        self._audit = audit
        self._limits = limits
        self._clock = clock
        self._entropy = entropy
        self._base_url = base_url
        self._wait = wait
        self._profile_path = profile_path
        self._logout_path = logout_path

    async def start(
        self, workspace: str | None = None, expires_in: float | None = None, *, address: str = "", agent: str = ""
    ) -> dict[str, Any]:
        """Begin a login: where the person goes, and what the program asks again with.

        Raises:
            InvalidArguments: there can be no such workspace or lifetime.
            RateLimited: too many were begun from that address.
        """
        check_workspace(workspace)
        seconds = whole_seconds(expires_in)
        if address:
            await self._limits.take(LOGIN_STARTS_FROM_ADDRESS, address)
        about = about_of(self._entropy, workspace=workspace, expires_in=seconds, address=address, agent=agent)
        row = await self._interactions.open(
            kind=InteractionKind.SIGN_IN,
            owner=NOBODY,
            topic=f"{_TOPIC}{self._entropy.token(12)}",
            about=about,
            begin=_begin,
            lifetime=self._wait,
        )
        key = self._interactions.payload(row)["state"]
        base = self._base_url().rstrip("/")
        asked = {"key": key, "workspace": workspace, "expires_in": expires_in}
        query = urlencode({name: value for name, value in asked.items() if value is not None})
        self._tell(Action.LOGIN_START, row, address=address)
        return {
            "login_url": f"{base}{PAGE}?{query}",
            "key": key,
            "code": about["code"],
            "report_url": f"{base}/{PUBLIC}/services/{SERVICE}/report",
            "check_url": f"{base}/{PUBLIC}/services/{SERVICE}/check",
        }

    async def check(self, key: str, timeout: float | None = None, profile: bool = False) -> Any:  # noqa: FBT001, FBT002
        """The token, once, as soon as the person said yes.

        Args:
            key: what `start` gave.
            timeout: seconds to wait; 0 or less: look and come back, None while nobody has answered.
            profile: give all that is known of the login (`UserTokenInfo`, as a dict) instead of the bare token.

        Raises:
            InvalidAnswer: there is no such key, or its token was handed out before.
            AuthRefused: the person said no.
            TimeoutError: nobody answered in time.
        """
        seconds = self._wait if timeout is None else number(timeout, "timeout")
        row = await self._row(key, UNKNOWN_KEY)
        if row.phase in WAITING:
            if seconds <= 0:
                return None
            seconds = min(seconds, max(self._wait, row.expires_at - self._clock.now()))
            row = await self._answered(row, seconds)
        if row.phase is Phase.REFUSED:
            raise AuthRefused("The person said no to this sign-in.")
        if row.phase is not Phase.ANSWERED or await self._is_late(row):
            raise InvalidAnswer(UNKNOWN_KEY)
        return await self._hand_out(row, profile=bool(profile))

    async def report(
        self,
        key: str,
        token: str,
        workspace: str | None = None,
        expires_in: float | None = None,
        email: str | None = None,
        email_verified: bool | None = None,  # noqa: FBT001
        name: str | None = None,
        nickname: str | None = None,
        user_id: str | None = None,
        picture: str | None = None,
        *,
        address: str = "",
        **_: Any,
    ) -> None:
        """Complete a login as a program that holds a valid token; no page is shown.

        Args:
            key: what `start` gave.
            token: any that is good here; with ``workspace`` one made of it, for that workspace alone, takes its place.
            workspace: where the new token acts; reading there is needed.
            expires_in: seconds that the new token lives.
            email: of who signed in, as all that follows.
            email_verified: whether it is known to be theirs.
            name: in full.
            nickname: a short one.
            user_id: as the program knows them.
            picture: its URL.
            address: of the program.

        Raises:
            InvalidAnswer: the key is unknown, used or too old; the token is not good, or not to be had for that.
            InvalidArguments: there can be no such workspace or lifetime.
            Denied: its user may not read in that workspace.
            RateLimited: too many bad tokens came from that address.
        """
        row = await self._row(key, UNKNOWN_OR_LATE)
        if row.phase not in WAITING:
            raise InvalidAnswer(UNKNOWN_OR_LATE)
        if workspace != "":
            check_workspace(workspace)
        caller = await self._holder(row, token, address)
        seconds = whole_seconds(expires_in)
        text, made = token, ""
        if workspace:
            text, made = await self._minting.mint(
                caller, workspace=workspace, expires_in=seconds, address=address, agent=""
            )
        known = {
            "workspace": workspace or None,
            "expires_in": seconds,
            "email": email,
            "email_verified": email_verified,
            "name": name,
            "nickname": nickname,
            "user_id": user_id,
            "picture": picture,
        }
        await self._answer(row, caller, text, known, made=made, address=address, how="report")

    async def asked(self, key: str) -> LoginRequest:
        """What a program asks for.

        Raises:
            InvalidAnswer: there is no such key.
            AuthExpired: nobody answered in time, or somebody has.
        """
        row = await self._row(key, UNKNOWN_OR_LATE)
        if row.phase not in WAITING:
            raise AuthExpired("This sign-in was answered, or its time is over. Begin again in your program.")
        return request_of(row, key)

    async def confirm(self, key: str, caller: Caller, *, address: str = "") -> None:
        """The person who is signed in says yes: the program gets a token of theirs.

        Raises:
            InvalidAnswer, AuthExpired: as `asked`.
            Denied: the program asked for a workspace in which this person may not read.
        """
        asked = await self.asked(key)
        row = await self._row(key, UNKNOWN_OR_LATE)
        text, made = await self._minting.mint(
            caller, workspace=asked.workspace, expires_in=asked.expires_in, address=asked.address, agent=asked.agent
        )
        user = user_of(caller)
        known = {
            "workspace": asked.workspace,
            "expires_in": asked.expires_in,
            "email": user.email,
            "user_id": user.id if len(user.id) <= _NAME else None,
        }
        await self._answer(row, caller, text, known, made=made, address=address, how="page")

    async def refuse(self, key: str, caller: Caller) -> None:
        """The person says no.

        Raises:
            InvalidAnswer, AuthExpired: as `asked`.
        """
        await self.asked(key)
        row = await self._row(key, UNKNOWN_OR_LATE)
        if row.phase in WAITING and await self._interactions.move(row, Event.REFUSE, reason="The person said no."):
            self._tell(Action.LOGIN_CONFIRM, row, caller=caller, outcome="refused")
            return
        raise InvalidAnswer(UNKNOWN_OR_LATE)

    async def profile(self, config: object = None) -> dict[str, Any]:
        """Where a person sees what is known of them: a redirect."""
        return {"status": 302, "headers": {"Location": f"{self._base_url().rstrip('/')}{self._profile_path}"}}

    async def logout(self, config: object = None) -> dict[str, Any]:
        """Where a person signs out."""
        return {"logout_url": f"{self._base_url().rstrip('/')}{self._logout_path}"}

    async def _row(self, key: object, unknown: str) -> Interaction:
        if not isinstance(key, str) or not 0 < len(key) <= _LONGEST_KEY:
            raise InvalidAnswer(unknown)
        try:
            row = await self._interactions.by_state(key)
        except InvalidAnswer:
            raise InvalidAnswer(unknown) from None
        if row.kind is not InteractionKind.SIGN_IN or not row.topic.startswith(_TOPIC):
            raise InvalidAnswer(unknown)
        return row

    async def _answered(self, row: Interaction, seconds: float) -> Interaction:
        try:
            row = await self._interactions.waiting.until(row.id, RESOLVED | ENDED, timeout=seconds)
        except AuthExpired:
            raise TimeoutError(waited(seconds)) from None
        except InvalidAuthState:
            raise InvalidAnswer(UNKNOWN_KEY) from None
        if row.phase is Phase.EXPIRED:
            raise TimeoutError(waited(seconds))
        return row

    async def _is_late(self, row: Interaction) -> bool:
        """Whether nobody came for an answer for too long: then it is given to nobody."""
        if self._clock.now() < row.expires_at + self._wait:
            return False
        await self._interactions.move(row, Event.EXPIRE, reason="Nobody came for the token.")
        return True

    async def _hand_out(self, row: Interaction, *, profile: bool) -> Any:
        """Compare-and-set lets one have it."""
        info = self._interactions.answer(row)
        taken = await self._interactions.move(row, Event.SETTLE)
        if taken is None:
            raise InvalidAnswer(UNKNOWN_KEY)
        try:
            await self._audit.note(self._entry(Action.LOGIN_CHECK, row))
        except StoreUnavailable:
            await self._interactions.move(taken, Event.RETRY, answer=info)
            raise
        if await self._interactions.move(taken, Event.FINISH) is None:
            raise InvalidAnswer(UNKNOWN_KEY)
        return info if profile else info["token"]

    async def _holder(self, row: Interaction, token: object, address: str) -> Caller:
        if not isinstance(token, str) or not token:
            raise InvalidAnswer("Invalid token provided to report_login: it has to be a text.")
        try:
            return await self._chain.identify(Presented(scheme=BEARER, value=Secret(token), address=address))
        except CouldNotTell:
            raise
        except Unauthenticated as error:
            self._tell(Action.LOGIN_CONFIRM, row, outcome="bad_token", address=address)
            raise InvalidAnswer(f"Invalid token provided to report_login: {error}") from None

    async def _answer(
        self,
        row: Interaction,
        caller: Caller,
        text: str,
        known: Mapping[str, Any],
        *,
        made: str,
        address: str,
        how: str,
    ) -> None:
        try:
            info = UserTokenInfo.model_validate({"token": text, **known}).model_dump(mode="json")
        except ValidationError as error:
            fields = sorted({str(each["loc"][0]) for each in error.errors() if each["loc"]})
            moved, problem = None, f"This cannot be used for a login: {', '.join(fields)}. Check its form and length."
        else:
            problem = UNKNOWN_OR_LATE
            try:
                moved = await self._interactions.move(row, Event.ANSWER, answer=info)
            except InvalidAuthState:
                moved = None
        if moved is None:
            await self._minting.withdraw(caller, made)
            raise InvalidAnswer(problem)
        self._tell(Action.LOGIN_CONFIRM, row, caller=caller, address=address, details={"by": how})

    def _tell(self, action: Action, row: Interaction, **about: Any) -> None:
        self._audit.tell(self._entry(action, row, **about))

    def _entry(
        self,
        action: Action,
        row: Interaction,
        *,
        caller: Caller | None = None,
        outcome: str = "ok",
        address: str = "",
        details: Mapping[str, str] | None = None,
    ) -> Entry:
        return Entry(
            action=action,
            outcome=outcome,
            workspace=str(row.about.get("workspace", "")),
            what=row.id,
            address=address,
            details=details or {},
        ).by(caller)


async def _begin(_: str) -> Mapping[str, Any]:
    return {}
