"""Refreshes per second of one process; prints it, and its CPU seconds for each.

One argument, a JSON object: the project's folder, further settings, the owners by their word and number, how many
callers at once. Each owner has one account, whose token has ended.
"""

import asyncio
import itertools
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import place

from valetkey.identity.verifiers.vouched import owner_of
from valetkey.model.caller import Caller
from valetkey.model.calls import Allowed, Call
from valetkey.model.needs import Need, Needs

NEEDS = Needs(((Need(provider=place.PROVIDER),),))


async def main(plan):
    system = place.Place(project=Path(plan["project"]), settings=plan["settings"]).system()
    system.home.block(lambda: asyncio.sleep(0))

    async def refresh(owner):
        allowed = Allowed(caller=Caller(owner=owner_of(owner), how="bench"), call=Call(tool="t", needs=NEEDS), rule="")
        (connection,) = (await system.connector.connect(allowed)).connections
        assert connection.generation > 1, "it was not refreshed"

    async def caller(numbers):
        for number in numbers:
            await refresh(f"{plan['word']}-{number}")

    warm = plan["count"] // 5
    numbers = iter(range(plan["count"] + warm))
    await asyncio.gather(*(caller(itertools.islice(numbers, warm // plan["at_once"])) for _ in range(plan["at_once"])))
    left = list(numbers)
    numbers = iter(left)
    began, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller(numbers) for _ in range(plan["at_once"])))
    took = time.perf_counter() - began
    print(json.dumps([len(left) / took, (time.process_time() - used) / len(left)]))
    system.close()


asyncio.run(main(json.loads(sys.argv[1])))
