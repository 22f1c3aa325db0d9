"""For plugins that wrap a published model: reading checkpoints safely, running a frozen network,
and the preprocessing and vocabulary that several models share. Core itself wraps none.
"""
