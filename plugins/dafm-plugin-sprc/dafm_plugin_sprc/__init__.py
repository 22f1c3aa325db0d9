"""SPRC and SPRC+SPN for dafm; start reading at ``plugin.py``."""
