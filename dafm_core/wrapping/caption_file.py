"""A file of captions: read once, checked, and asked for the captions of images.

For plugins whose models read text only. What is done with the captions, each plugin knows.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dafm_core.contract.items import ImageRef
from dafm_core.errors import DatasetError, OptionError
from dafm_core.ground.sources import distinct_keys, parsed_json, source_bytes

logger = logging.getLogger(__name__)

FOREIGN_FROM = 32
"""So many images at once, none of them with captions, and the file belongs to another dataset."""


@dataclass(frozen=True, eq=False)
class CaptionFile:
    """Captions by image id.

    Parameters
    ----------
    path : Path
    sha256 : str
        Of the file's bytes.
    captions : mapping of str to tuple of str
        At least one caption per id; blank captions are left out.
    """

    path: Path
    sha256: str
    captions: Mapping[str, tuple[str, ...]] = field(repr=False)
    _reported: set[str] = field(default_factory=set, repr=False)

    @classmethod
    def read(cls, path: str | Path) -> CaptionFile:
        """Read a JSON object from image id to a list of captions (or to one caption).

        Raises
        ------
        OptionError
            If the file cannot be opened.
        DatasetError
            If it is not such an object, or has no caption at all; names the first bad entry.
        """
        path = Path(path)
        try:
            data = source_bytes(path)
        except OSError as error:
            raise OptionError(
                f"option 'captions': {path} cannot be opened ({error.strerror or error}). "
                "Give the JSON file as --set captions=FILE."
            ) from None
        captions = _parse(data, path)
        return cls(path, hashlib.sha256(data).hexdigest(), captions)

    def of(self, images: Sequence[ImageRef], *, role: str) -> list[tuple[str, ...]]:
        """Return each image's captions, none where the file has none.

        Images without captions are logged once each, as a warning that counts them.

        Parameters
        ----------
        images : sequence of ImageRef
            Only the ids are used.
        role : str
            What the images are to the caller, for the warning.

        Raises
        ------
        DatasetError
            If the file knows not one of many images: it is another dataset's.
        """
        found = [self.captions.get(image.id, ()) for image in images]
        missing = {image.id for image, own in zip(images, found, strict=True) if not own}
        if len(images) >= FOREIGN_FROM and not any(found):
            raise DatasetError(
                f"{self.path}: expected captions of the {role}s, got none for {len(images)} of "
                f"them ({images[0].id!r}, ...). Is this the captions file of another dataset?"
            )
        if new := sorted(missing - self._reported):
            self._reported.update(new)
            shown = ", ".join(new[:5]) + (", ..." if len(new) > 5 else "")
            logger.warning("%s: %d %s(s) without captions: %s", self.path, len(new), role, shown)
        return found


def _parse(data: bytes, path: Path) -> dict[str, tuple[str, ...]]:
    where, advice = f"{path}", "Expected form: {'image id': ['a caption', ...], ...}."
    try:
        content: Any = parsed_json(data, distinct_keys)
    except ValueError as error:
        raise DatasetError(f"{where}: expected JSON, got something else ({error}).") from None
    if not isinstance(content, dict):
        raise DatasetError(
            f"{where}: expected a JSON object, got a {type(content).__name__}. {advice}"
        )
    captions = {}
    for image_id, value in content.items():
        sentences = [value] if isinstance(value, str) else value
        if not isinstance(sentences, list) or not all(isinstance(s, str) for s in sentences):
            raise DatasetError(
                f"{where}: expected a list of captions for image {image_id!r}, got "
                f"{repr(value)[:60]}. {advice}"
            )
        if kept := tuple(s for s in sentences if s.strip()):
            captions[image_id] = kept
    if not captions:
        raise DatasetError(f"{where}: expected at least one caption, got none. {advice}")
    return captions
