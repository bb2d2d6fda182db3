"""Seed 004: several kinds of token at once, told apart by how they begin.

    python -m valetkey.server --host=127.0.0.1 --port=9527 --startup-functions=examples/custom-auth-multi.py:hypha_startup
"""

import time

from valetkey import UserInfo, UserPermission, create_scope
from valetkey import _parse_token

# What seed 004 leaves to its reader: one parser for each kind. A token here is its prefix and a name; in production
# look it up where you keep it, and never put a secret into a program's text.
USERS = {
    "sk_live_abc123": ("api_user_1", "api-workspace"),
    "saml_5f2d": ("user", "saml-workspace"),
    "oauth2_77aa": ("oauth-user", "oauth-workspace"),
    "custom_c0de": ("custom-user", "custom-workspace"),
}

def user_of(token: str) -> UserInfo:
    """The user behind a token."""
    if token not in USERS:
        raise ValueError(f"Invalid {token.split('_')[0]} token")
    name, workspace = USERS[token]
    return UserInfo(
        id=name,
        roles=[],
        scope=create_scope(workspaces={workspace: UserPermission.admin}),
        expires_at=time.time() + 3600,
    )

async def parse_api_key(token: str) -> UserInfo:
    return user_of(token)

async def parse_saml_token(token: str) -> UserInfo:
    return user_of(token)

async def parse_oauth_token(token: str) -> UserInfo:
    return user_of(token)

async def parse_custom_token(token: str) -> UserInfo:
    return user_of(token)

class MultiProviderAuth:
    def __init__(self):
        self.providers = {}
    
    def register_provider(self, prefix: str, parser):
        """Register an authentication provider."""
        self.providers[prefix] = parser
    
    async def parse_token(self, token: str) -> UserInfo:
        """Route token to appropriate provider."""
        # Check each provider by token prefix
        for prefix, parser in self.providers.items():
            if token.startswith(prefix):
                return await parser(token)
        
        # Fall back to default JWT
        return _parse_token(token)

async def hypha_startup(server):
    """Configure multi-provider authentication."""
    multi_auth = MultiProviderAuth()
    
    # Register API key provider
    multi_auth.register_provider("sk_", parse_api_key)
    
    # Register SAML provider
    multi_auth.register_provider("saml_", parse_saml_token)
    
    # Register OAuth2 provider
    multi_auth.register_provider("oauth2_", parse_oauth_token)
    
    # Register custom provider
    multi_auth.register_provider("custom_", parse_custom_token)
    
    await server.register_auth_service(
        parse_token=multi_auth.parse_token
    )
    print("Multi-provider authentication configured")
