"""What the audit log has of a connection's life: begun, finished, forgotten. No secret, no name that a person gave."""

from __future__ import annotations

from valetkey.errors import AuthRefused, ValetkeyError
from valetkey.model.audit import Action, Entry
from valetkey.model.caller import Owner
from valetkey.model.interactions import Interaction


def flow_begun(interaction: Interaction) -> Entry:
    """A flow was begun."""
    return _entry(Action.CONNECT_BEGIN, interaction.owner, interaction.id, _about(interaction))


def flow_ended(interaction: Interaction, *, connection_id: str = "", error: BaseException | None = None) -> Entry:
    """A flow ended: with a connection, or with an error, of which only the kind is told."""
    about = {**_about(interaction), "interaction": interaction.id}
    if error is None:
        return _entry(Action.CONNECT_FINISH, interaction.owner, connection_id, about)
    about["error"] = error.code if isinstance(error, ValetkeyError) else type(error).__name__
    outcome = "refused" if isinstance(error, AuthRefused) else "failed"
    return _entry(Action.CONNECT_FINISH, interaction.owner, connection_id, about, outcome)


def forgotten(owner: Owner, provider: str, connection_id: str, *, upstream: str) -> Entry:
    """A connection, or a flow for one, was removed; ``upstream``: what became of it at the provider."""
    return _entry(Action.DISCONNECT, owner, connection_id, {"provider": provider, "upstream": upstream})


def _about(interaction: Interaction) -> dict[str, str]:
    about = interaction.about
    return {"provider": str(about.get("provider", "")), "handler": str(about.get("handler", ""))}


def _entry(action: Action, owner: Owner, what: str, details: dict[str, str], outcome: str = "ok") -> Entry:
    return Entry(
        action=action,
        outcome=outcome,
        issuer=owner.issuer,
        subject=owner.subject,
        workspace=owner.workspace,
        what=what,
        details=details,
    )
