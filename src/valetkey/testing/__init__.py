"""What our users may import in their tests."""
