"""From scores to a per-query frame, on queries that no fusion has seen."""
