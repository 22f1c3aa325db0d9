"""Composed image retrieval through captions for dafm; start reading at ``plugin.py``."""
