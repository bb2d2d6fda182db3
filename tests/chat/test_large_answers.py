"""The seed's Python client, with the limit that its library has by default (1 MiB a frame), reads every answer."""

from __future__ import annotations

from fastapi import FastAPI

from tests.chat.kit import call, room
from tests.chat.live import live
from valetkey.entrypoints.chat.sizes import LEAST, MOST_PARTS, OF_FRAME, fitted, octets, rationed
from valetkey.ports.agents import ToolCall


async def test_an_answer_with_many_large_results_fits_a_frame_that_clients_take() -> None:
    app = FastAPI()

    @app.get("/items", operation_id="items")
    def items() -> list[dict[str, object]]:
        return [{"id": number, "name": "ü" * 50} for number in range(2500)]

    async with live(app, max_tool_call_rounds=1) as chat:
        chat.model.pieces = [ToolCall(id=f"call-{number}", tool="items") for number in range(10)]
        client = await chat.open()
        await client.send(type="chat", message="all of them")
        answer = await client.until("ai_response")  # raises ConnectionClosed: our client says 1009
        assert len(answer["tool_results"]) >= 10
        assert octets(answer["tool_results"]) < OF_FRAME * 1.1
        assert all(
            each["result"].endswith("characters are left out. Ask for less at once.]")
            for each in answer["tool_results"][:10]
        )
        await client.send(type="history")
        assert len((await client.until("history"))["messages"]) == 2


def test_only_the_longest_values_are_cut() -> None:
    long, longer = "y" * 50_000, {"text": '"' * 300_000}
    short, same, cut = fitted([{"a": 1}, long, longer])
    assert (short, same) == ({"a": 1}, long)
    assert cut.startswith('{"text": ')
    assert octets([short, same, cut]) < OF_FRAME + 200
    whole = [{"text": "x" * 100_000}]
    assert fitted(whole)[0] is whole[0]
    assert fitted([]) == []


def test_a_text_has_something_in_any_case() -> None:
    one, other = rationed(["x" * 5000, "y" * 10], -3)
    assert one.startswith("x" * LEAST + "\n[Cut: 3976 of 5000 characters are left out.")
    assert other == "y" * 10


async def test_a_model_is_shown_so_much_of_one_turns_results_and_no_more() -> None:
    with room(max_message_size=2000, chunk_size=2000, chunk_overlap=0) as here:
        here.tool("big", lambda lent, arguments: "y" * 7000)
        here.model.answers = [[call("big"), call("big")], [call("big"), call("big")], "Done."]
        await here.say("go")
        shown = [result.text for message in here.model.asked[-1].messages for result in message.results]
        assert len(shown) == 4
        assert sum(map(len, shown)) < MOST_PARTS * 2000 + 4 * (LEAST + 200)
        assert all("are left out" in text for text in shown)
