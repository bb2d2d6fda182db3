"""Seed 004: a service that looks at who calls it.

    python -m valetkey.server --host=127.0.0.1 --port=9527 --startup-functions=examples/protected-service.py:start_service
"""

async def start_service(server):
    """Service with authorization checks."""
    
    # Define authorized users/roles
    AUTHORIZED_USERS = ["admin@example.com", "user@example.com"]
    AUTHORIZED_ROLES = ["admin", "developer"]
    
    def protected_function(data, context=None):
        """Function requiring authorization."""
        if not context:
            raise Exception("Authentication required")
        
        user = context["user"]
        
        # Check user email
        if user.get("email") not in AUTHORIZED_USERS:
            # Check user roles
            user_roles = user.get("roles", [])
            if not any(role in AUTHORIZED_ROLES for role in user_roles):
                raise Exception(f"User {user.get('email', 'unknown')} is not authorized")
        
        # Process authorized request
        return f"Protected data for {user['email']}: {data}"
    
    await server.register_service({
        "id": "protected-service",
        "config": {
            "visibility": "public",
            "require_context": True  # Enable user context
        },
        "protected_function": protected_function
    })
