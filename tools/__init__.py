"""What maintainers run beside the tests. Nothing here is part of the package."""
