"""What the devtool writes for a tool: a folder that runs as a process of its own."""

from __future__ import annotations

import json


def pocket_json(name: str, provider: str) -> str:
    """The tool's description, as ``Pocket`` reads it."""
    described = {
        "tool": {
            "name": name,
            "description": "Greet somebody by name. Say here what the tool is for: a model reads it.",
            "inputSchema": {
                "type": "object",
                "properties": {"who": {"type": "string", "description": "whom to greet"}},
                "required": ["who"],
            },
        },
        **({"auth": {"auth_provider": provider, "scopes": []}} if provider else {}),
        "variables": {"GREETING": "Hello"},
        "language": "python",
        "entrypoint": {"run": "python main.py"},
    }
    return json.dumps(described, indent=2) + "\n"


MAIN = '''\
"""Greets somebody. The arguments are JSON on standard input; what is printed is the answer."""

import json
import os
import sys


def main() -> None:
    arguments = json.load(sys.stdin)
    # The environment holds the variables of pocket.json and what was lent for this call, and nothing else.
    greeting = os.environ["GREETING"]@token@
    print(f"{greeting}, {arguments['who']}!")


if __name__ == "__main__":
    main()
'''

TOKEN = """
    token = os.environ["@VARIABLE@"]  # lent for this call: send it to the service, and print it nowhere
    print(f"A token of {len(token)} characters was lent.", file=sys.stderr)"""

README = """\
# @name@

A tool that runs as a process of its own.

| file | is |
|---|---|
| `pocket.json` | its name, what it is for, its arguments, the account that it needs, its variables, and how it is run |
| `main.py` | reads the arguments as JSON from standard input, and prints the answer |

Try it alone:

    echo '{"who": "Ada"}' | GREETING=Hello@lent@ python main.py

In a program, by its folder:

    from valetkey import Pocket

    pocket = Pocket(tools=["./@name@"])
    print(pocket.invoke("@name@", {"who": "Ada"}))
"""


def files(name: str, provider: str, variable: str) -> dict[str, str]:
    """The files of the folder, by their names."""
    token = TOKEN.replace("@VARIABLE@", variable) if provider else ""
    lent = f" {variable}=a-token" if provider else ""
    return {
        "pocket.json": pocket_json(name, provider),
        "main.py": MAIN.replace("@token@", token),
        "README.md": README.replace("@name@", name).replace("@lent@", lent),
    }
