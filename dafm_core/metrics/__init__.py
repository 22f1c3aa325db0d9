"""Metrics: where targets rank under the tie rule, and what a benchmark makes of it."""
