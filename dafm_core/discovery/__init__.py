"""What installed plugins describe, learned without importing any of them into this process."""
