"""We as a client: protocol pairs driven over the fetcher, for sign-in and for connections alike."""
