"""Scores made elsewhere become providers of a store: aligned by id, checked, then written.

Matrices, lists of the best candidates, and features that a cosine or a dot product turns into a
matrix. Everything is checked before the first row is written, so that bad input leaves the store as
it was. How rows are checked and written is in ``storing.py``; the formats are read in
``readers.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import OptionError, SimilarityError, SubmissionError, closest
from dafm_core.formats.alignment import ProductRows, align_features, align_matrix, with_ids
from dafm_core.formats.content import Order, RankedLists, Request
from dafm_core.formats.fitted import read_fitted, read_head
from dafm_core.formats.json_lists import read_submission
from dafm_core.formats.lists import ListedScores
from dafm_core.formats.matching import parse_rule
from dafm_core.formats.readers import read, read_features, suffix_of
from dafm_core.formats.storing import FullLists, Imported, Rows, write_lists, write_rows
from dafm_core.ground.files import sha256_of
from dafm_core.store.shortlist import Shortlist
from dafm_core.store.store import SimilarityStore

Direction = Literal["similarity", "distance"]
Measure = Literal["cosine", "dot"]


def import_scores(
    store: SimilarityStore,
    name: str,
    path: str | Path,
    *,
    key: str | None = None,
    query_ids: str | Path | None = None,
    gallery_ids: str | Path | None = None,
    direction: Direction = "similarity",
    order: Order | None = None,
    rule: str | None = None,
    ignore: Sequence[str] = (),
    facts: Mapping[str, str] | None = None,
    dtype: str = "float32",
    overwrite: bool = False,
) -> Imported:
    """Put scores made elsewhere into a store as the provider ``name``.

    Parameters
    ----------
    store : SimilarityStore
        Made for the dataset the scores belong to.
    name : str
    path : path
        By suffix: ``.npy .npz .pt .pth .safetensors`` a matrix; ``.parquet .csv .tsv`` a wide table
        (query_id and a column per image) or a long one (query_id, image_id, score); ``.trec .run
        .txt`` a TREC run; ``.json`` scores by query and image, or a CIRR or CIRCO submission file.
        Text may be packed: ``.trec.gz``.
    key : str, optional
        Which array, where a file holds several; the column of scores of a long table; the object
        of queries in a JSON file.
    query_ids, gallery_ids : path, optional
        Files with the ids of a matrix's rows and columns: text, one a line; JSON; npy. Without
        them, and without ids in the file or beside it (``X.queries.txt``, ``X.gallery.txt``), rows
        and columns must be in the store's order.
    direction : {"similarity", "distance"}
        Distances are negated.
    order : {"score", "rank"}, optional
        What decides in lists whose ranks contradict their scores; such lists are refused without
        it. Where all scores of every query are equal, ranks decide.
    rule : str, optional
        How ids of the file differ from the store's, e.g. ``basename+extension``; see
        ``matching.RULES``. Ids that differ are refused without it, and the message names the rule.
    ignore : sequence of str
        Members of the file that are as long as an axis and do not say its order.
    facts : mapping of str, optional
        What decides the scores, for the passport's fingerprint, e.g. model, checkpoint sha256, text
        template; the same for every split of one model, unlike the file, which stands beside it.
    dtype : {"float32", "float16"}
    overwrite : bool

    Returns
    -------
    Imported

    Raises
    ------
    AlignmentError
        If ids are missing or stand twice, or a list beside a matrix is as long as an axis and holds
        no ids of it.
    SimilarityError
        If the file cannot be read, holds another shape, NaN, or infinite scores other than -inf for
        an excluded image; if ranks contradict scores; if more than one score in a hundred becomes
        equal to another in float32.
    OptionError
        For an unknown suffix, key, direction, order or rule, or id lists for a file that has ids.
    SubmissionError
        If a submission file is malformed, or ranks subsets only.
    StoreError
        If the name is taken by other scores.

    Notes
    -----
    Lists that leave candidates out (a top 50, say) are stored as shortlists: what they leave out is
    below the last one listed, in an order that nobody knows, so recall@K for K beyond the list is
    undecided where it depends on that. The passport has the length of the shortest such list as
    ``truncated_at``. Lists that name every candidate are stored as the matrix they are. Files that
    hold ranks only get minus the rank as score.
    """
    path = Path(path)
    if direction not in ("similarity", "distance"):
        raise OptionError(
            f"import: direction {direction!r}{closest(direction, ('similarity', 'distance'))}"
        )
    if order not in (None, "score", "rank"):
        raise OptionError(f"import: order {order!r}{closest(order, ('score', 'rank'))}")
    names = parse_rule(rule)
    distance = direction == "distance"
    request = Request(key=key, order=order, distance=distance, ignore=tuple(ignore))
    content = read(path, request)
    options: dict[str, Any] = {"direction": direction}
    files = {"scores": _file_facts(path, key)}
    rows: Rows
    listed: ListedScores | None = None
    if isinstance(content, RankedLists):
        if query_ids or gallery_ids or ignore:
            raise OptionError(f"{path}: holds lists with ids; leave id files and --ignore out.")
        listed = ListedScores.align(content.frame, store.dataset, where=str(path), rule=names)
        if order is not None or (content.order == "rank" and suffix_of(path) != ".json"):
            options["order"] = content.order
    else:
        if order is not None:
            raise OptionError(f"{path}: holds a matrix, which has no ranks; leave order out.")
        matrix = with_ids(content, query_ids, gallery_ids)
        rows = align_matrix(matrix, store.dataset, sign=-1.0 if distance else 1.0, rule=names)
        beside = {label.name: path.with_name(label.name) for label in matrix.labels if label.beside}
        files |= _list_facts(query_ids=query_ids, gallery_ids=gallery_ids, **beside)
    passport: dict[str, Any] = {
        "source": "imported",
        "fingerprint": dict(facts or {}),
        "options": options | ({"ids": rule} if rule else {}),
        "sources": files,
    }
    if fitted := read_fitted(path):
        passport["fitted_query_ids"] = sorted(fitted)
    if head := read_head(path):
        passport["head"] = head
    if listed is not None:
        passport["truncated_at"] = listed.truncated_at
        if listed.truncated_at is not None:
            return write_lists(store, name, listed, passport, dtype=dtype, overwrite=overwrite)
        rows = FullLists(listed)
    return write_rows(store, name, rows, passport, dtype=dtype, overwrite=overwrite)


def features_of(path: str | Path, ids: Sequence[str], *, unit: bool) -> NDArray[np.float32]:
    """Return features made elsewhere in the order of gallery ids, (n, D); of unit length if asked.

    Rows that stand for no id are left out. Errors as for :func:`import_features`.
    """
    matrix = read_features(Path(path), Request(key=None, features=True))
    return align_features(matrix, ids, what="image", unit=unit)[0]


def import_features(
    store: SimilarityStore,
    name: str,
    queries: str | Path,
    gallery: str | Path,
    *,
    measure: Measure = "cosine",
    query_key: str | None = None,
    gallery_key: str | None = None,
    query_ids: str | Path | None = None,
    gallery_ids: str | Path | None = None,
    rule: str | None = None,
    ignore: Sequence[str] = (),
    facts: Mapping[str, str] | None = None,
    dtype: str = "float32",
    overwrite: bool = False,
) -> Imported:
    """Put the similarities of features made elsewhere into a store as the provider ``name``.

    Parameters
    ----------
    store : SimilarityStore
    name : str
    queries : path
        Features of the composed queries, (n_queries, D): npy, npz, pt or safetensors. Any list in
        the file that holds the ids names the rows.
    gallery : path
        Features of the candidates, (n_gallery, D).
    measure : {"cosine", "dot"}
    query_key, gallery_key : str, optional
        Which array, where a file holds several.
    query_ids, gallery_ids, rule, ignore, facts, dtype, overwrite
        As for :func:`import_scores`.

    Raises
    ------
    AlignmentError, SimilarityError, OptionError, StoreError
        As for :func:`import_scores`; SimilarityError also where widths differ or a vector is zero
        under ``cosine``.
    """
    if measure not in ("cosine", "dot"):
        raise OptionError(f"import: measure {measure!r}{closest(measure, ('cosine', 'dot'))}")
    paths = (Path(queries), Path(gallery))
    dataset, unit, names = store.dataset, measure == "cosine", parse_rule(rule)
    unread = tuple(ignore)
    request = Request(key=query_key, features=True, ignore=unread)
    matrix = with_ids(read_features(paths[0], request), query_ids, None)
    asked, n_queries = align_features(
        matrix, dataset.query_ids, what="query", unit=unit, rule=names
    )
    request = Request(key=gallery_key, features=True, ignore=unread, key_option="--gallery-key")
    matrix = with_ids(read_features(paths[1], request), gallery_ids, None)
    offered, n_images = align_features(
        matrix, dataset.gallery_ids, what="image", unit=unit, rule=names
    )
    if asked.shape[1] != offered.shape[1]:
        raise SimilarityError(
            f"{paths[0]}: expected features of the gallery's width {offered.shape[1]}, got "
            f"{asked.shape[1]}."
        )
    passport = {
        "source": "imported",
        "fingerprint": dict(facts or {}),
        "options": {"measure": measure} | ({"ids": rule} if rule else {}),
        "sources": {
            "queries": _file_facts(paths[0], query_key),
            "gallery": _file_facts(paths[1], gallery_key),
            **_list_facts(query_ids=query_ids, gallery_ids=gallery_ids),
        },
    }
    return write_rows(
        store,
        name,
        ProductRows(asked, offered, (n_queries, n_images)),
        passport,
        dtype=dtype,
        overwrite=overwrite,
        features=offered,
    )


def import_subset_file(store: SimilarityStore, name: str, path: str | Path) -> None:
    """Put a model's own ranking of the subsets beside its rows: CIRR's second file.

    It decides ``rsubset@K`` of this provider and nothing else.

    Raises
    ------
    SubmissionError, AlignmentError
        As for :func:`read_subset_file`.
    StoreError
        If the store has no such provider.
    """
    shortlist = read_subset_file(store, path)
    store.write_subset(name, shortlist, sources={"subset": _file_facts(Path(path))})


def read_subset_file(store: SimilarityStore, path: str | Path) -> Shortlist:
    """Return a model's own ranking of the subsets, CIRR's second file, by a store's queries.

    Raises
    ------
    SubmissionError
        If the file is malformed, or ranks the gallery.
    AlignmentError
        If ids are unknown, a list names an image twice, or a query has no list.
    """
    path = Path(path)
    lists = read_submission(path)
    if not lists.file.within_subset:
        raise SubmissionError(
            f"{path}: ranks the gallery, not each query's subset. Import it as the provider's rows."
        )
    listed = ListedScores.align(lists.frame(), store.dataset, where=str(path))
    return Shortlist(
        listed.columns.offsets,
        listed.columns.values,
        listed.scores.astype(np.float32),
        listed.n_gallery,
    )


def _file_facts(path: Path, key: str | None = None) -> dict[str, str]:
    facts = {"name": path.name, "sha256": sha256_of(path)}
    return facts if key is None else {**facts, "key": key}


def _list_facts(**paths: str | Path | None) -> dict[str, dict[str, str]]:
    """Return what the passport says of lists of ids: they decide scores as the file itself does."""
    return {name: _file_facts(Path(path)) for name, path in paths.items() if path is not None}
