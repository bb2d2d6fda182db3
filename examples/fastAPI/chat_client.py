"""Seed 003: its Python client, corrected: the first frame is a greeting, and an answer is preceded by others.

    python examples/fastAPI/app_auth.py            # in one terminal
    python examples/fastAPI/chat_client.py         # in another

It needs ``pip install websockets``.
"""

import asyncio
import json
import os

import websockets

URL = os.environ.get("CHAT_URL", "ws://localhost:8000/bedrock-chat/ws")
TOKEN = os.environ.get("CHAT_TOKEN", "your-api-token")


async def read_until(ws, *wanted):
    """The next frame of one of these types; an error ends it."""
    while True:
        frame = json.loads(await ws.recv())
        if frame["type"] in wanted:
            return frame
        if frame["type"] == "error":
            raise SystemExit(f"❌ {frame['message']}")


async def main():
    async with websockets.connect(URL) as ws:
        # The server speaks first
        await read_until(ws, "connection_established")

        # Send authentication
        await ws.send(json.dumps({"type": "auth", "auth_type": "bearer_token", "token": TOKEN}))

        # Wait for auth confirmation
        response = await read_until(ws, "auth_configured")
        print(f"✅ {response['message']}")

        # Send message
        await ws.send(json.dumps({"type": "chat", "message": "Get my user data"}))

        # Receive response: typing and tool_progress come before it
        response = await read_until(ws, "ai_response")
        print(f"🤖 {response['message']}")


if __name__ == "__main__":
    asyncio.run(main())
