"""What is called? One port, several kinds."""
