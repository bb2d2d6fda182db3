"""Seed 000, the first program's second half: a provider in code, and a tool that stays an ordinary function."""

from valetkey import OAuthHandler, tool


# Define a tool with OAuth authentication
@tool(
    auth=OAuthHandler(
        client_id="your_client_id",
        client_secret="your_client_secret",
        scopes=["read:messages", "write:messages"],
        auth_url="https://slack.com/oauth/authorize",
        token_url="https://slack.com/api/oauth.access",
    )
)
def get_slack_messages(channel: str, limit: int) -> list:
    """Fetch recent messages from a Slack channel."""
    messages = [{"user": "Alice", "message": "Hello!"}, {"user": "Bob", "message": "Hi!"}]
    # do something
    return messages[:limit]


# Example usage
if __name__ == "__main__":
    messages = get_slack_messages(channel="general", limit=10)
    print(messages)
