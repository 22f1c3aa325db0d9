"""Rows of similarities: on disk as a store, in memory as a stack."""
