"""Services that programs register and others call; no sockets here."""
