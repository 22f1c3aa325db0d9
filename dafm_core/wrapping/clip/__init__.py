"""OpenAI CLIP as published checkpoints store it: tokeniser, towers, sizes read from tensor shapes.

Several published models are the same towers behind the same tokeniser, fine-tuned or not, each with
rules that fail silently when they are wrong (ftfy before the split, a zero-padded row, the position
of the end token), so one tested copy is safer than one per plugin. Core itself uses none of it.

``towers.py`` and ``resnet.py`` hold the modules, ``state_dict.py`` builds them from OpenAI's keys,
``tokenizer.py`` makes ids of texts, ``random_weights.py`` stands for files in tests and benchmarks.
They import torch, transformers, tokenizers and ftfy, which the plugins that use them require.
Nothing is imported here.
"""
