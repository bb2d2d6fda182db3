"""The same server with a WebSocket that only reads; prints what sockets_valetkey.py does."""

import sys

from fastapi import FastAPI, WebSocket
from serving import serve
from starlette.websockets import WebSocketDisconnect

app = FastAPI()


@app.websocket("/bedrock-chat/ws")
async def read(websocket: WebSocket) -> None:
    """Greet, then answer each frame with one."""
    await websocket.accept()
    await websocket.send_text('{"type":"connection_established","session_id":"","message":"","timestamp":""}')
    try:
        while True:
            await websocket.receive_text()
            await websocket.send_text('{"type":"pong"}')
    except WebSocketDisconnect:
        pass


serve(app, sys.stdin)
