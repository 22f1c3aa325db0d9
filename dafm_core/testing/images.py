"""What a provider must do with a picture that is broken or missing: say so, in one line.

Called by the checks of ``providers.py`` and ``pairs.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dafm_core.contract.items import ImageRef
from dafm_core.errors import DafmError
from dafm_core.testing.results import CheckFailed, NotApplicable

LAW = "A picture that is broken or missing is an error that names it, and is never scored."


def check_broken_images(
    score: Callable[[Sequence[ImageRef]], np.ndarray], gallery: Sequence[ImageRef]
) -> None:
    """Score a gallery one of whose pictures is cut short, empty, or not there.

    Parameters
    ----------
    score : callable
        Scores a few queries against a gallery.
    gallery : sequence of ImageRef
        At least three pictures that can be read.
    """
    first = gallery[0]
    if first.path is None:
        raise NotApplicable("the sample has no pictures")
    content = first.path.read_bytes()
    usual = score(gallery)
    looked = False
    with TemporaryDirectory(prefix="dafm-check-") as folder:
        for what, bad in (("cut short", content[: len(content) // 2]), ("empty", b""), ("", None)):
            path = Path(folder) / f"{what.replace(' ', '-') or 'missing'}{first.path.suffix}"
            if bad is not None:
                path.write_bytes(bad)
            try:
                scores = score([ImageRef(first.id, path), *gallery[1:]])
            except DafmError as error:
                looked = True
                if first.id not in str(error) and path.name not in str(error):
                    raise CheckFailed(f"the error does not name the picture: {error}") from error
            except Exception as error:
                raise CheckFailed(
                    f"a picture that is {what or 'missing'} raised {error!r}, no DafmError. "
                    "Open it with image.open()"
                ) from error
            else:
                if looked or not np.array_equal(scores, usual):
                    raise CheckFailed(f"a picture that is {what or 'missing'} was scored")
    if not looked:
        raise NotApplicable("the provider does not look at pictures")
