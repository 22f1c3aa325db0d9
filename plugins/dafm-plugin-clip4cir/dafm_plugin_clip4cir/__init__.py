"""CLIP4CIR for dafm: the plugin's description is in ``plugin.py``, the model behind it in the rest.

CLIP itself (tokeniser, towers) is ``dafm_core.wrapping.clip``.
"""
