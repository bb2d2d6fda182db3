"""A program ends while an account is refreshed: what the provider answers is saved before it is gone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from valetkey.model.connections import Health

pytestmark = pytest.mark.node

PROGRAM = Path(__file__).with_name("program.py")
ENDINGS = {
    "returns": 0,
    "exits": 3,
    "leaves a thread": 0,
    "raises": 1,
    "is interrupted": -signal.SIGINT,
    "is interrupted in a loop": -signal.SIGINT,
}


@pytest.mark.requirement("rel.program-ends")
@pytest.mark.parametrize(
    ("database", "how"),
    [*(("sqlite", how) for how in ENDINGS), ("postgres", "returns"), ("postgres", "is interrupted")],
)
def test_a_program_that_ends_while_it_refreshes_saves_the_answer(places, database, how):
    place = places(database)
    account = place.account("default")
    place.oidc.hold(account.refresh_token, "after")
    settings = {f"VALETKEY_{name.upper()}": value for name, value in place.settings.items()}
    with subprocess.Popen(
        [sys.executable, PROGRAM, how],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **settings},
    ) as program:
        assert program.stdin is not None
        assert program.stderr is not None
        try:
            place.oidc.wait_held(account.refresh_token, timeout=40)
            if ENDINGS[how] == -signal.SIGINT:
                program.send_signal(signal.SIGINT)
            else:
                program.stdin.close()
            time.sleep(0.4)
            assert program.poll() is None, "it waits for the answer"
            place.oidc.release(account.refresh_token)
            code = program.wait(20)
            said = program.stderr.read()
        finally:
            program.kill()
    assert (code, place.oidc.family(account.refresh_token).refreshes) == (ENDINGS[how], 1), said
    assert list(place.system.journal.entries()) == []
    assert place.tokens("default")[1] == place.oidc.family(account.refresh_token).newest
    held = place.held("default")
    assert (held.generation, held.health) == (2, Health.OK)
