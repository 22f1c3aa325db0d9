"""CLIP and its kin as rows for dafm, and images as words; start reading at ``plugin.py``."""
