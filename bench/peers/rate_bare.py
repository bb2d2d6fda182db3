"""Refreshes per second of a bare client, which parses and keeps nothing; prints it, and its CPU seconds for each.

Arguments: the provider's port, a word that makes its tokens new, how many, how many at once.
"""

import asyncio
import json
import sys
import time
from itertools import count

port, word, total, at_once = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])


async def client(numbers):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while (number := next(numbers)) < total:
        body = f"grant_type=refresh_token&refresh_token=bare-{word}-{number}&client_id=x&client_secret=y".encode()
        writer.write(b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
    writer.close()


async def main():
    numbers = count()
    began, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(client(numbers) for _ in range(at_once)))
    print(json.dumps([total / (time.perf_counter() - began), (time.process_time() - used) / total]))


asyncio.run(main())
