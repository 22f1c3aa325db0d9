"""From frozen models to rows in a store."""
