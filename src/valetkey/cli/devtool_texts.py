"""What the devtool writes: a provider's file, for each of the two ways to connect an account."""

from __future__ import annotations

OAUTH2 = """\
# @Title@: a provider of your own. Written by `valetkey devtool create-oauth2-auth-template @name@`.
# The addresses at @host@ stand for those in the service's documentation: replace them. A line that is a
# comment shows a key that some services need.
title = "@Title@"
docs = "https://@host@/docs/oauth"        # where a person registers a client; told where its id is missing
origins = ["https://api.@host@"]          # where its tokens may be sent; nowhere else

[handlers.@dashed@-oauth2]
kind = "oauth2"
default = true                                   # serves tools that name no handler
recommended_scopes = []                          # asked for besides those of the tools
variables = { @VARIABLE@ = "access_token" }      # what a tool reads

[handlers.@dashed@-oauth2.oauth2]
authorize = "https://@host@/oauth/authorize"
token = "https://@host@/oauth/token"
# issuer = "https://@host@"                # instead of both, where it has metadata (RFC 8414)
# revoke = "https://@host@/oauth/revoke"   # RFC 7009; none: disconnecting forgets the token here only
# device = "https://@host@/oauth/device"   # RFC 8628
client_auth = "client_secret_post"               # or client_secret_basic, private_key_jwt, none
pkce = true                                      # false only where the service refuses it
scope_separator = " "                            # or ","
# scope_parameter = "scope"
# authorize_parameters = { access_type = "offline" }
# token_parameters = {}
# refresh_scopes = ["offline_access"]            # scopes without which there is no refresh token
# lifetime = 3600                                # seconds, where the token answer does not say

# [handlers.@dashed@-oauth2.placement]     # where the token goes, if not into "Authorization: Bearer …"
# header = "X-Api-Key"

# [handlers.@dashed@-oauth2.userinfo]      # whose account it is: shown wherever the connection is
# url = "https://api.@host@/me"
# account = ["email", "name"]                    # paths in its answer; the first that is there counts
# subject = "id"
"""

TOKEN = """\
# @Title@: a provider of your own. Written by `valetkey devtool create-token-auth-template @name@`.
# The addresses at @host@ stand for those in the service's documentation: replace them. A line that is a
# comment shows a key that some services need.
title = "@Title@"
docs = "https://@host@/docs/tokens"       # where a person makes a token; the form links to it
origins = ["https://api.@host@"]          # where its tokens may be sent; nowhere else

[handlers.@dashed@-token]
kind = "token"
default = true                                   # serves tools that name no handler
variables = { @VARIABLE@ = "access_token" }      # what a tool reads
fields = [{ name = "access_token", label = "API token" }]   # what the form asks for

# [handlers.@dashed@-token.placement]      # where the token goes, if not into "Authorization: Bearer …"
# header = "X-Api-Key"
# prefix = ""                                    # what stands before it; or query = "api_key", instead of both

# [handlers.@dashed@-token.userinfo]       # asked before a pasted token is kept: a wrong one is asked for again
# url = "https://api.@host@/me"
# account = ["email", "name"]                    # paths in its answer; the first that is there counts
# subject = "id"
"""

CUSTOM = """\
# @Title@: a provider of your own, whose auth handler is yours, too: valetkey_providers/@name@/.
# Written by `valetkey devtool create-@kind@-auth-template @name@ --handler`.
title = "@Title@"
docs = "https://@host@/docs"              # where a person reads how to get in
origins = ["https://api.@host@"]          # where its tokens may be sent; nowhere else

[handlers.@dashed@-@kind@]
kind = "custom"
handler = "@name@.@kind@_handler:@Class@@Kind@AuthHandler"   # module and class, below this folder
default = true                                   # serves tools that name no handler
scoped = @scoped@                                    # whether scopes limit what it grants
"""
