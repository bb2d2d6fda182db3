"""A script with a tool that needs an account; its argument says how it ends while that account is refreshed."""

import asyncio
import sys
import threading

from valetkey import AuthProvider, Pocket, function_tool


@function_tool(auth_provider=AuthProvider("mailroom"), scopes=["mail.read"])
def read_mail(**kwargs) -> str:
    """Read mail."""
    return "read"


async def ends(pocket: Pocket, code: int | None) -> None:
    """End while a task of ours calls."""
    task = asyncio.create_task(pocket.ainvoke("read_mail", {}))
    await asyncio.to_thread(sys.stdin.readline)
    assert not task.done()
    if code is not None:
        sys.exit(code)


def main(how: str) -> None:
    pocket = Pocket(tools=[read_mail])
    match how:
        case "returns":
            asyncio.run(ends(pocket, None))
        case "exits":
            asyncio.run(ends(pocket, 3))
        case "leaves a thread":
            threading.Thread(target=pocket.invoke, args=("read_mail", {}), daemon=True).start()
            sys.stdin.readline()
        case "raises":
            threading.Thread(target=pocket.invoke, args=("read_mail", {}), daemon=True).start()
            sys.stdin.readline()
            raise ValueError(how)
        case "is interrupted":
            pocket.invoke("read_mail", {})
        case "is interrupted in a loop":
            asyncio.run(pocket.ainvoke("read_mail", {}))


if __name__ == "__main__":
    main(sys.argv[1])
