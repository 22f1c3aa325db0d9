"""Images that cannot be opened, found before anything is scored."""

from __future__ import annotations

import logging
from typing import Literal, TypeAlias

from dafm_core.datasets.base import Dataset
from dafm_core.errors import ImageError
from dafm_core.ground.progress import Progress

logger = logging.getLogger(__name__)

MissingPolicy: TypeAlias = Literal["error", "skip"]
"""What an image that is missing or broken does."""


def broken_images(
    dataset: Dataset, on_missing: MissingPolicy, progress: Progress
) -> frozenset[str]:
    """Return the ids of images that cannot be decoded, if they are to be skipped."""
    if on_missing == "error":
        return frozenset()
    broken = set()
    references = dataset.queries["references"].explode().drop_nulls().to_list()
    ids = list(dict.fromkeys([*dataset.gallery_ids, *references]))
    for done, image_id in enumerate(ids, start=1):
        try:
            dataset.image(image_id).open()
        except ImageError as error:
            logger.warning("skipped: %s", error)
            broken.add(image_id)
        progress("images", done, len(ids))
    if broken.issuperset(dataset.gallery_ids):
        raise ImageError(
            f"{dataset.protocol}: no gallery image can be opened. Check the image folder."
        )
    return frozenset(broken)
