"""The embedded dataset *scenes*, and four toy providers that see it and fail differently.

``world`` invents families, ``texts`` puts their differences into words, ``render`` paints them,
``dataset`` binds the three into a protocol. ``color``, ``layout``, ``shape`` and ``words`` are the
providers; what they share is in ``pixels``, ``reading`` and ``overlap``.
"""
