"""LambdaMART as a fuser for dafm; start reading at ``plugin.py``."""
