"""Models of the library sentence-transformers for dafm; start reading at ``plugin.py``."""
