"""Core's own datasets, described; each reader is imported when it is used."""

from __future__ import annotations

from dafm_core.descriptions import DatasetInfo

DATASETS: list[DatasetInfo] = []
