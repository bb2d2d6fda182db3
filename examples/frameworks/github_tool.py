"""The tool of these examples: it needs the person's GitHub account.

Before you start, write the client id and secret of your GitHub OAuth app into valetkey.toml in the current folder:

    [auth.github]
    client_id = "…"
    client_secret = "…"
"""

import json
from urllib.request import Request, urlopen

from valetkey import AuthProvider, function_tool


@function_tool(auth_provider=AuthProvider.GITHUB, scopes=["repo"])
def list_repositories(GITHUB_TOKEN: str, limit: int = 5) -> list[str]:
    """List the person's repositories.

    Args:
        limit: how many at most
    """
    request = Request(f"https://api.github.com/user/repos?per_page={limit}")
    request.add_header("Authorization", f"Bearer {GITHUB_TOKEN}")
    with urlopen(request) as answer:
        return [repository["full_name"] for repository in json.load(answer)]
