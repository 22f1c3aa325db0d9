"""BLIP as published checkpoints store it: two encoders, their sizes, cleaning and word pieces.

Several published models are these encoders behind this text, each with numbers of its own (words
kept, tokens, heads), so one tested copy is safer than one per plugin. Core itself uses none of it.

``encoders.py`` holds the modules, ``layout.py`` the names and sizes in files, ``text.py`` makes
tokens of captions. They import torch and transformers, which the plugins that use them require.
BLIP-2 is next door. Nothing is imported here.
"""
