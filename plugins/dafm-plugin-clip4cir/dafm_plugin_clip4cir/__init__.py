"""CLIP4CIR for dafm: the plugin's description is in ``plugin.py``, the model behind it in the rest.

``clip`` holds OpenAI CLIP itself (tokeniser, towers), which ``dafm-plugin-tgcir`` uses too.
"""
