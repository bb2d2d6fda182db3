"""Calls over HTTP with keep-alive; prints calls a second and the seconds of the median and of the slowest in a hundred.

Arguments: port, path, token, calls, clients. Little more than sockets, so that it is not the client that is measured.
"""

import asyncio
import json
import statistics
import sys
import time

WARM = 3  # calls of each client beforehand


async def one(port, path, token, calls, taken):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def call(text):
        body = json.dumps({"text": text}).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        length = next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
        answer = await reader.readexactly(length)
        if b" 200 " not in status or json.loads(answer) != text:
            raise RuntimeError(f"{status!r} {answer!r}")

    for number in range(WARM):
        await call(f"warm {number}")
    yield
    for number in range(calls):
        began = time.perf_counter()
        await call(f"hello {number}")
        taken.append(time.perf_counter() - began)
    writer.close()


async def main(port, path, token, calls, clients):
    taken = []
    runs = [one(port, path, token, calls // clients, taken) for _ in range(clients)]
    await asyncio.gather(*(anext(run) for run in runs))
    began = time.perf_counter()
    await asyncio.gather(*(anext(run, None) for run in runs))
    spent = time.perf_counter() - began
    print(json.dumps([len(taken) / spent, statistics.median(taken), statistics.quantiles(taken, n=100)[98]]))


asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
