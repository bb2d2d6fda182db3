"""A chat on a server of its own; prints its port, then its resident bytes for each line that it reads."""

import sys

from fastapi import FastAPI
from serving import serve

from valetkey import add_bedrock_chat

app = FastAPI()


@app.get("/items/{number}", operation_id="item")
async def item(number: int) -> dict[str, int]:
    """One item."""
    return {"number": number}


add_bedrock_chat(app, model_id="offline", max_sessions=20_000)
serve(app, sys.stdin)
