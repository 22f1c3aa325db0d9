"""OpenAI CLIP as published checkpoints store it: tokeniser, towers, sizes read from tensor shapes.

``dafm-plugin-tgcir`` depends on this plugin for these modules. Both models are the same fine-tuned
towers behind the same tokeniser, each with rules that fail silently when they are wrong (ftfy
before the split, a zero-padded row, the position of the end token), so one tested copy is safer
than two, and core stays free of models. Nothing is imported here.
"""
