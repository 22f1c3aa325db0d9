"""Embeddings over HTTP for dafm; start reading at ``plugin.py``."""
