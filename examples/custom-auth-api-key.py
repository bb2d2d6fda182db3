"""Seed 004: API keys of your own, beside the tokens that the server knows.

    python -m valetkey.server --host=127.0.0.1 --port=9527 --startup-functions=examples/custom-auth-api-key.py:hypha_startup
"""

from valetkey import UserInfo, UserPermission
from valetkey import create_scope

# API key database (use secure storage in production)
API_KEYS = {
    "sk_live_abc123": {
        "user_id": "api_user_1",
        "email": "api@example.com",
        "permissions": ["read", "write"],
        "workspace": "api-workspace"
    }
}

async def parse_api_key_token(token: str) -> UserInfo:
    """Parse API key format tokens."""
    if token.startswith("sk_"):
        # API key authentication
        if token not in API_KEYS:
            raise ValueError("Invalid API key")
        
        key_data = API_KEYS[token]
        return UserInfo(
            id=key_data["user_id"],
            email=key_data["email"],
            roles=key_data["permissions"],
            scope=create_scope(
                workspaces={key_data["workspace"]: UserPermission.admin}
            )
        )
    else:
        # Fall back to default JWT parsing
        from valetkey import _parse_token
        return _parse_token(token)

async def hypha_startup(server):
    """Configure API key authentication."""
    await server.register_auth_service(
        parse_token=parse_api_key_token
        # Keep default token generation and login service
    )
