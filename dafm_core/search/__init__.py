"""Live queries over a gallery: an index of many models' features, and the fitted fusion over it.

``index.py`` opens a gallery index, ``building.py`` writes one, ``search.py`` answers queries. What
speaks HTTP stands in ``dafm_core.serve``, what speaks to people in ``dafm_core.cli``.
"""
