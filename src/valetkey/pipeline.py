"""The whole road on one screen.

Presented ─identify─▶ Caller ─decide─▶ Allowed ─connect─▶ Connected ─lend─▶ Lent ─call─▶ ToolResult

Each step takes only what the step before gave, so that leaving one out does not type-check.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from valetkey.connections.find import Connector
from valetkey.errors import ToolFailed, ToolTimeout
from valetkey.identity.chain import Chain
from valetkey.lending import Lender
from valetkey.logs import speaking
from valetkey.model.caller import Caller
from valetkey.model.calls import Call, Lent, Presented, ToolResult
from valetkey.policy.decide import Policy
from valetkey.scrub import Scrubber
from valetkey.tools.openapi.answer import OperationFailed
from valetkey.tools.rejected import Rejection, rejection
from valetkey.tools.tool import Tool, WaitsForPerson

Render = Callable[[object], object]


NOTHING = Scrubber(())
"""Of a call that was lent nothing."""

_log = logging.getLogger("valetkey")


@dataclass(frozen=True, slots=True, kw_only=True)
class Road:
    """The steps, as wiring chose them."""

    chain: Chain
    policy: Policy
    connector: Connector
    lender: Lender

    async def travel(self, presented: Presented, tool: Tool, call: Call, *, render: Render | None = None) -> ToolResult:
        """Take one call all the way.

        Args:
            presented: who calls.
            tool: what is called.
            call: with what.
            render: what the way in makes of the tool's value, before it is scrubbed.

        Raises:
            InvalidArguments: the arguments do not fit the tool.
            Unauthenticated, CouldNotTell: identify.
            Denied, ApprovalRequired: decide.
            AuthRequired, ProviderUnavailable: connect.
            VaultError: lend.
            AuthRequired, ApprovalRequired: the tool lends by itself, and a person has to answer first.
        """
        arguments = tool.bind(call.arguments)
        caller = await self.chain.identify(presented)
        return await self._go(caller, tool, call, arguments, render)

    async def go(self, caller: Caller, tool: Tool, call: Call) -> ToolResult:
        """The rest of the way, for a caller whom the way in had to know first, to know what is called.

        Raises:
            ValetkeyError: as `travel` does, but for what identifying raises.
        """
        return await self._go(caller, tool, call, tool.bind(call.arguments), None)

    async def _go(
        self, caller: Caller, tool: Tool, call: Call, arguments: Mapping[str, object], render: Render | None
    ) -> ToolResult:
        # What is decided on is what the tool needs, whatever the call says.
        needs = tool.needs
        asked = call if call.needs is needs or call.needs == needs else replace(call, needs=needs)
        allowed = await self.policy.decide(caller, asked)
        connected = await self.connector.connect(allowed)
        lent = await self.lender.lend(connected)
        try:
            return await run(tool, lent, arguments, render)
        except ToolFailed as failure:
            text, verdict = str(failure), rejection(failure, lent.origins)
        # Past the except: an error from here on must not carry the tool's own, whose text may tell what was lent.
        certain = verdict is Rejection.CERTAIN
        renewed = None if verdict is Rejection.NONE else await self.connector.renew(connected, certain=certain)
        if renewed is None:
            return await self._failed(text, lent, verdict)
        again = await self.lender.lend(renewed)
        try:
            return await run(tool, replace(again, secrets=again.secrets + lent.secrets), arguments, render)
        except ToolFailed as failure:
            text, verdict = str(failure), rejection(failure, again.origins)
        return await self._failed(text, again, verdict)

    async def _failed(self, text: str, lent: Lent, verdict: Rejection) -> ToolResult:
        """The text for the model; a credential that the provider's own API refuses is not offered again."""
        if verdict is Rejection.CERTAIN:
            await self.connector.give_up(lent.connected)
        return ToolResult(value=text, failed=True)


async def run(tool: Tool, lent: Lent, arguments: Mapping[str, object], render: Render | None = None) -> ToolResult:
    """Run the tool under its deadline, and star what was lent out of what it gives, and out of what it logs.

    Rendering runs code of the tool, too: a ``__str__``, a generator. So it is done here, and scrubbed after.

    Raises:
        ToolFailed: the tool's own code raised, or ran out of time; the text is scrubbed, the cause is the tool's own.
    """
    if not lent.secrets:
        return await _run(tool, lent, arguments, render, NOTHING)
    scrubber = Scrubber(lent.secrets)
    with speaking(scrubber):
        return await _run(tool, lent, arguments, render, scrubber)


async def _run(
    tool: Tool, lent: Lent, arguments: Mapping[str, object], render: Render | None, scrubber: Scrubber
) -> ToolResult:
    limit = asyncio.timeout(lent.connected.allowed.call.deadline)
    try:
        async with limit:
            value = await tool.run(lent, arguments)
            if render is not None:
                value = render(value)
    except WaitsForPerson as waits:
        raise waits.required from None
    except (Exception, SystemExit, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError) and _is_cancelled():
            raise
        if limit.expired() and isinstance(error, TimeoutError):
            raise ToolTimeout(f"timeout tool call: {tool.name} did not end within {tool.deadline:g} s") from None
        if not isinstance(error, OperationFailed):  # an API's answer is no fault of the tool's code
            _note(tool, error)
        text = scrubber.text(_told(error))
        raise ToolFailed(f"There was an error while executing the tool: {text}") from error
    return ToolResult(value=scrubber.value(value))


def _is_cancelled() -> bool:
    """Whether it is the caller who gave up; a task of the tool's own that was cancelled is the tool's failure."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _note(tool: Tool, error: BaseException) -> None:
    """Tell the tool's author the type and the place; the text may hold what was lent."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    code = None if place is None else place.tb_frame.f_code
    where = "" if place is None or code is None else f" in {code.co_name} ({code.co_filename}:{place.tb_lineno})"
    _log.warning("the tool %s raised %s%s", tool.name, type(error).__name__, where)


def _told(error: BaseException) -> str:
    try:
        return str(error) or type(error).__name__
    except Exception:  # noqa: BLE001  # the text of a tool's own error is the tool's own code
        return type(error).__name__
