"""TG-CIR for dafm: the plugin's description is in ``plugin.py``, the model behind it in the rest.

CLIP itself (tokeniser, towers) comes from ``dafm-plugin-clip4cir``; its ``clip`` package says why.
"""
