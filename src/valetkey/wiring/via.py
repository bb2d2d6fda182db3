"""Lending to services in somebody else's process: the tickets, the yes behind them, and the road of the proxy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from valetkey.errors import InvalidSetting
from valetkey.pipeline import Road
from valetkey.policy.consents import AskedFirst, HoldsTicket
from valetkey.policy.decide import Policy
from valetkey.policy.rules import Effect, Rule, WrittenRule
from valetkey.ports.world import Streamer
from valetkey.settings.policy import read_rules

if TYPE_CHECKING:
    from valetkey.services.loans import Loans
    from valetkey.wiring.identity import Identity
    from valetkey.wiring.system import System


def open_loans(identity: Identity, *, base_url: Callable[[], str]) -> Loans:
    """What lends to services; on the home loop.

    Args:
        identity: the rooms of the server.
        base_url: the public address with the prefix of our paths.
    """
    from valetkey.services.loans import Loans  # with the packages for RPC

    system = identity.system
    return Loans(
        policy=_policy(system, [*read_rules(system.config.sources), AskedFirst()]),
        connector=system.connector,
        consents=identity.consents,
        finder=system.handling,
        tokens=identity.tokens,
        clock=system.clock,
        base_url=base_url,
    )


def proxy_road(identity: Identity) -> Road:
    """The road of requests to providers.

    A rule of the settings that allows counts only where it names this way in: one that was written for tools must not
    hand out whole accounts.
    """
    system = identity.system
    rules = [rule for rule in read_rules(system.config.sources) if _counts(rule)]
    return replace(system.road, chain=identity.chain, policy=_policy(system, [*rules, HoldsTicket()]))


def streamer_of(system: System) -> Streamer:
    """What streams to providers.

    Raises:
        InvalidSetting: what was handed in instead of our HTTP client cannot.
    """
    if not isinstance(system.fetcher, Streamer):
        raise InvalidSetting("This program's own HTTP client cannot stream, so that there is no proxy.")
    return system.fetcher


def _counts(rule: Rule) -> bool:
    return not (isinstance(rule, WrittenRule) and rule.effect is Effect.ALLOW and "proxy" not in rule.entrances)


def _policy(system: System, rules: list[Rule]) -> Policy:
    handling = system.handling
    return Policy(
        rules,
        provider_of=lambda need: handling.find(need.handler, need.provider or None).provider.name,
        audit=system.audit,
        oversight=system.oversight,
    )
