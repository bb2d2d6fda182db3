"""A question that waits for a person. Sign-in, connect and approve are its kinds; one row, one life."""
