"""CoVR-BLIP and CoVR-2 for dafm; start reading at ``plugin.py``."""
