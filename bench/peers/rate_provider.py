"""A token endpoint that costs next to nothing: it rotates, and refuses what was used. Prints its port."""

import asyncio
import itertools
import json
import sys
from urllib.parse import parse_qs

used = set()
numbers = itertools.count()


def answer(body):
    """What the token endpoint says to one request."""
    token = parse_qs(body.decode())["refresh_token"][0]
    if token in used:
        return b"400 Bad Request", {"error": "invalid_grant"}
    used.add(token)
    number = next(numbers)
    return b"200 OK", {
        "access_token": f"access-{number}-" + "a" * 40,
        "refresh_token": f"refresh-{number}-" + "r" * 40,
        "token_type": "Bearer",
        "expires_in": 3600,
        "scope": "openid offline_access mail.read",
    }


class Endpoint(asyncio.Protocol):
    """One kept connection."""

    def connection_made(self, transport):
        """Begin with nothing held."""
        self.transport = transport
        self.held = b""

    def data_received(self, data):
        """Answer each request that is whole."""
        self.held += data
        while (end := self.held.find(b"\r\n\r\n")) >= 0:
            head = self.held[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.held) < end + 4 + length:
                return
            body, self.held = self.held[end + 4 : end + 4 + length], self.held[end + 4 + length :]
            status, told = answer(body)
            content = json.dumps(told).encode()
            self.transport.write(
                b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (status, len(content), content)
            )


async def main():
    server = await asyncio.get_running_loop().create_server(Endpoint, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
