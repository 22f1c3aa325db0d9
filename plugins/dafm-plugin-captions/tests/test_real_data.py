"""The four providers on some of CIRR's val queries with machine-written captions, where they are.

The queries of the first image sets, among the images of those sets: enough to tell a broken
provider from a whole one, and seconds instead of minutes of a sentence encoder.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from dafm_plugin_captions.lexical import Bm25Captions, TfidfCaptions
from dafm_plugin_captions.sentence import BestSentenceCaptions, SentenceCaptions, SentenceEncoder

from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import is_encoding
from dafm_core.testing.device import DEVICE

ROOT = Path(__file__).parents[3]
CIRR = Path(os.environ.get("DAFM_SHARED", ROOT.parent / "shared")).resolve() / "data" / "cirr"
FLOORS = [
    (Bm25Captions, 69.8),
    (TfidfCaptions, 84.6),
    (SentenceCaptions, 89.4),
    (BestSentenceCaptions, 83.0),
]
N_SETS = 24
BLOCK = 200


class EncodeOnce:
    """Remembers embeddings, so that the two providers encode a sentence once."""

    def __init__(self, encoder):
        self._encoder = encoder
        self._known = {}
        self.n_dims = encoder.n_dims
        self.identity = encoder.identity

    def __call__(self, sentences):
        new = list(dict.fromkeys(s for s in sentences if s not in self._known))
        self._known.update(zip(new, self._encoder(new), strict=True))
        return np.stack([self._known[sentence] for sentence in sentences])


@pytest.fixture(scope="session")
def encoder():
    return EncodeOnce(SentenceEncoder(None, batch_size=128, device=DEVICE))


@pytest.fixture(scope="session")
def cirr():
    if not CIRR.exists():
        pytest.skip(f"no CIRR annotations at {CIRR}; set DAFM_SHARED to their folder")
    rows = json.loads((CIRR / "captions" / "cap.rc2.val.json").read_text())
    sets = {row["img_set"]["id"]: row["img_set"]["members"] for row in rows}
    chosen = dict(list(sets.items())[:N_SETS])
    rows = [row for row in rows if row["img_set"]["id"] in chosen]
    images = list(dict.fromkeys(image for members in chosen.values() for image in members))
    column = {image_id: i for i, image_id in enumerate(images)}
    queries = [
        Query(id=str(row["pairid"]), references=(ImageRef(row["reference"]),), text=row["caption"])
        for row in rows
    ]
    targets = np.array([column[row["target_hard"]] for row in rows])
    references = np.array([column[row["reference"]] for row in rows])
    return queries, [ImageRef(image_id) for image_id in images], targets, references


def score(provider, queries, gallery):
    blocks = [queries[i : i + BLOCK] for i in range(0, len(queries), BLOCK)]
    if not is_encoding(provider):
        return np.concatenate([provider.similarity(block, gallery) for block in blocks])
    features = provider.encode_gallery(gallery)
    encoded = [provider.encode_queries(block) for block in blocks]
    return np.concatenate([provider.similarity(block, features) for block in encoded])


def recall_at_10(scores, targets, references):
    """Expected over a random order of ties, reference excluded, in percent."""
    rows = np.arange(len(scores))
    scores[rows, references] = -np.inf
    own = scores[rows, targets][:, None]
    above, tied = (scores > own).sum(1), (scores == own).sum(1)
    return 100 * np.clip((10 - above) / tied, 0, 1).mean()


@pytest.mark.parametrize(
    ("kind", "floor"), FLOORS, ids=lambda value: getattr(value, "__name__", "")
)
def test_recall_on_cirr_val(kind, floor, cirr, request, monkeypatch):
    queries, gallery, targets, references = cirr
    if kind in (SentenceCaptions, BestSentenceCaptions):
        shared = request.getfixturevalue("encoder")
        monkeypatch.setattr(
            "dafm_plugin_captions.sentence.SentenceEncoder", lambda *_, **__: shared
        )
    provider = kind(captions=CIRR / "image_captions.json")
    scores = score(provider, queries, gallery)
    assert scores.shape == (len(queries), len(gallery))
    assert np.isfinite(scores).all()
    reached = recall_at_10(scores, targets, references)
    print(f"{kind.__name__}: R@10 {reached:.2f} on {len(queries)} queries")
    if len(queries) == 189:  # the floors were measured on these
        assert reached >= floor
