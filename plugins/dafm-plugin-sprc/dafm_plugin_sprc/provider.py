"""SPRC behind dafm's contract: images and texts in, NumPy out, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import Features, Similarity
from dafm_core.wrapping.checkpoints import Weights, sha256_of
from dafm_core.wrapping.decoding import ImageDecoder
from dafm_core.wrapping.inference import Settings, exact, rows_by_image
from dafm_core.wrapping.target_pad import TargetPad
from dafm_plugin_sprc.layout import open_spn, open_sprc
from dafm_plugin_sprc.model import Sprc, load_model
from dafm_plugin_sprc.text import Tokenizer


def load_sprc(**options: Any) -> SprcProvider:
    """Load SPRC from ``sprc_cirr.pt`` or a sibling; takes the options of ``plugin.py``.

    Raises
    ------
    ProviderError
        If a file is missing, damaged, unsafe, or another model's.
    OptionError
        If an option makes no sense.
    """
    return _load("sprc", open_sprc, **options)


def load_sprc_spn(**options: Any) -> SprcProvider:
    """Load SPRC+SPN from its second-stage ``best.pt``; as :func:`load_sprc` otherwise."""
    return _load("sprc-spn", open_spn, **options)


def _load(
    where: str,
    open_file: Callable[[Path, str], Weights],
    *,
    checkpoint: Path,
    vocabulary: str = "bert-base-uncased",
    vision_heads: int = 16,
    qformer_heads: int = 12,
    device: str | None = None,
    dtype: str = "float32",
    batch_size: int = 8,
    workers: int = 0,
) -> SprcProvider:
    settings = Settings.checked(
        where, device=device, dtype=dtype, batch_size=batch_size, workers=workers
    )
    weights = open_file(checkpoint, f"{where}: checkpoint")
    digest = sha256_of(checkpoint)  # reads the file once, before its pages are let go
    model = load_model(
        weights,
        vision_heads=vision_heads,
        qformer_heads=qformer_heads,
        dtype=settings.dtype,
        with_spn=open_file is open_spn,
    )
    tokenizer = Tokenizer(vocabulary, where)
    tokenizer.check(model.sizes.qformer.vocabulary, model.sizes.qformer.positions)
    fingerprint = {
        "model": f"{where} {model.sizes.vision.kind}",
        "checkpoint_sha256": digest,
        "vocabulary_sha256": tokenizer.sha256,
        "text_template": "sprc cleaning, 32 tokens",
        "vision_heads": str(vision_heads),
        "qformer_heads": str(qformer_heads),
        "vision_dtype": settings.dtype_name,
    }
    return SprcProvider(model, tokenizer, settings, fingerprint)


class SprcProvider:
    """Either model, loaded; features are unit vectors, 32 of an image and one of a query.

    Parameters
    ----------
    model : Sprc
        With its weights.
    tokenizer : Tokenizer
        Texts to ids.
    settings : Settings
        How to compute.
    fingerprint : mapping of str to str
        What decides the output; the preprocessing is added here.
    """

    def __init__(
        self, model: Sprc, tokenizer: Tokenizer, settings: Settings, fingerprint: Mapping[str, str]
    ) -> None:
        transform = TargetPad(model.sizes.vision.image_size)
        self.model = model.to(settings.device)
        self.tokenizer, self.settings = tokenizer, settings
        self.decode = ImageDecoder(transform, workers=settings.workers)
        self.fingerprint = {**fingerprint, "preprocessing": transform.fingerprint}

    def encode_gallery(self, images: Sequence[ImageRef]) -> Features:
        """Return the 32 vectors of each image, shape (n, 32, D)."""
        decoded, run = self.decode(images), self.settings
        shape = len(decoded), self.model.sizes.n_vectors, self.model.sizes.n_features
        features = np.empty(shape, dtype=np.float32)
        with exact():
            for part in run.batches(len(decoded)):
                vectors = self.model.encode_gallery(run.normalised(decoded[part]))
                features[part] = vectors.cpu().numpy()
        return features

    def encode_queries(self, queries: Sequence[Query]) -> Features:
        """Return one vector for each reference and text, shape (n, D).

        Each distinct reference passes the image encoder once. Texts are cut to 32 tokens, as the
        model was trained; an empty one is legal and warned of.
        """
        ids, mask = self.tokenizer([query.text for query in queries])
        rows, run = rows_by_image([query.reference for query in queries]), self.settings
        images, decoded = list(rows), self.decode(list(rows))
        features = np.empty((len(queries), self.model.sizes.n_features), dtype=np.float32)
        with exact():
            for part in run.batches(len(images)):
                tokens = self.model.vision(run.normalised(decoded[part]))  # (B, T, W)
                owner = [(i, row) for i, image in enumerate(images[part]) for row in rows[image]]
                for few in run.batches(len(owner)):
                    image, at = (list(column) for column in zip(*owner[few], strict=True))
                    text = run.tensor(ids[at]), run.tensor(mask[at])
                    features[at] = self.model.encode_query(tokens[image], text).cpu().numpy()
        return features

    def similarity(self, queries: Features, gallery: Features) -> Similarity:
        """Return the best of the 32 cosines of each pair, shape (n_queries, n_gallery)."""
        best: Similarity = queries @ gallery[:, 0].T
        for vector in range(1, gallery.shape[1]):
            np.maximum(best, queries @ gallery[:, vector].T, out=best)
        return best
