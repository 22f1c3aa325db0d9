"""The first stage of BLIP-2 as published checkpoints store it: image encoder and Q-Former.

``encoders.py`` holds the modules, ``layout.py`` the names and sizes in files. They import torch and
transformers, which the plugins that use them require. Captions are read as in ``blip/text.py``.
Nothing is imported here.
"""
