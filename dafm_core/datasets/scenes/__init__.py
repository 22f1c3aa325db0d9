"""The embedded dataset *scenes*: coloured shapes on textured grounds, families of look-alikes, and
texts that say how one member differs from another.

``world`` invents families, ``texts`` puts their differences into words, ``render`` paints them,
``dataset`` binds the three into a protocol. Only the description stands here.
"""

from __future__ import annotations

from dafm_core.descriptions import DatasetInfo, Option

INFO = DatasetInfo(
    name="scenes",
    summary="embedded: coloured shapes on textured grounds, rendered into a cache on first use",
    factory="dafm_core.datasets.scenes.dataset:load",
    splits=("val", "train"),
    needs_path=False,
    licence="Apache-2.0",
    options=(
        Option(name="families", summary="scene families, six images each", kind="int", default=432),
        Option(name="seed", summary="another world of the same kind", kind="int", default=0),
    ),
)
