"""What the pages tell a newcomer to do, as a file and as a line in a shell: the program stays, and is called."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from tests.project.stage import shown
from tests.rpc.place import WAIT, place
from valetkey.model.services import Member, Registered

ROOT = Path(__file__).parents[3]
USUAL = "http://127.0.0.1:9527"

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")


class Comes:
    """Watches for a service."""

    def __init__(self, service_id: str) -> None:
        self._id = service_id
        self.there = asyncio.Event()

    def registered(self, service: Registered) -> None:
        if service.id == self._id:
            self.there.set()

    def joined(self, member: Member) -> None:
        pass

    def left(self, member: Member, services: tuple[Registered, ...]) -> None:
        pass

    def unregistered(self, service: Registered) -> None:
        pass


def program(page: str) -> str:
    """The page's first program that shares a function."""
    blocks: list[str] = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    return next(block for block in blocks if "register_service" in block and "connect_to_server" in block)


@pytest.mark.parametrize("page", ["README.md", "docs/services.md"])
async def test_a_program_as_the_page_shows_it_stays_and_is_called_as_the_page_says(page: str, tmp_path: Path) -> None:
    async with place() as here:
        comes = Comes("greeter")
        here.services.directory.watch(comes)
        file = tmp_path / "share.py"
        file.write_text(program(page).replace(USUAL, here.base_url))
        env = {**os.environ, "HYPHA_TOKEN": await here.token("local|ada")}
        nowhere = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(file), env=env, stdin=nowhere, stdout=nowhere, stderr=nowhere
        )
        try:
            ended, there = asyncio.ensure_future(process.wait()), asyncio.ensure_future(comes.there.wait())
            await asyncio.wait([ended, there], timeout=WAIT, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([ended], timeout=0.5)  # who does not stay is gone by then
            assert not ended.done(), "it ended at once, and took its service with it"
            words = shlex.split(shown(page, "curl")[0].replace(USUAL, here.base_url))
            curl = await asyncio.create_subprocess_exec(words[0], "-sS", *words[1:], stdout=asyncio.subprocess.PIPE)
            answer, _ = await curl.communicate()
            assert answer.startswith(b'"Hello, Bo.'), answer
        finally:
            there.cancel()
            if process.returncode is None:
                process.kill()
            await process.wait()
