"""The two models called BLIP4CIR for dafm; start reading at ``plugin.py``."""
