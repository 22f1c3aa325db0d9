"""Cases: on a page as compact arrays that ``cases.js`` turns into a list and one case at a time,
on a terminal as tables.

A page of thousands of queries stays quick because only what is looked at becomes elements.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.cases.cases import OUTCOMES, Cases
from dafm_core.evaluation.query_types import query_types
from dafm_core.reporting.page import Section
from dafm_core.reporting.thumbnails import Thumbnails, embed_thumbnails
from dafm_core.tables.cells import (
    Cell,
    Table,
    number_cell,
    rank_cell,
    table,
    text_cell,
)


@dataclass(frozen=True, kw_only=True)
class View:
    """What the template shows; ``payload`` is the JSON that ``cases.js`` reads."""

    note: str
    notes: tuple[str, ...]
    payload: dict[str, Any]


def cases_section(
    cases: Cases,
    *,
    images: Mapping[str, Path] | None = None,
    captions: Mapping[str, str] | None = None,
    thumbnail_budget: int,
) -> Section:
    """Return the section that browses cases.

    Parameters
    ----------
    cases : Cases
        In the order to be shown first.
    images : mapping of str to Path, optional
        Files of reference and gallery images.
    captions : mapping of str to str, optional
        Shown where there is no thumbnail; else the id is.
    thumbnail_budget : int
        Bytes of embedded thumbnails.
    """
    shown = _shown_ids(cases)
    pictures = embed_thumbnails(shown, images or {}, budget=thumbnail_budget if images else 0)
    view = View(
        note=_thumbnail_note(pictures, len(shown), thumbnail_budget) if images else "",
        notes=cases.notes,
        payload=_payload(cases, shown, pictures.uris, captions or {}),
    )
    return Section(id="cases", title="Cases", view=view, scripts=("cases.js",))


def list_table(cases: Cases, fuser: str, *, limit: int) -> Table:
    """Return the first cases, a line each: outcome, change, and the target's rank by column."""
    frame = cases.frame(fuser)
    ids, texts, outcomes = (frame[name].to_list() for name in ("query_id", "text", "outcome"))
    changes: list[float] = frame["change"].to_list()
    n_shown = min(limit, len(cases))
    counts = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in sorted({*outcomes}))
    return table(
        f"{cases.protocol}: {len(cases)} queries under {cases.label(fuser)} ({counts}); rank of "
        f"the target, bold among the first {cases.depth}; the first {n_shown} are shown.",
        ("Query", "Text", "Outcome", "Change", *map(cases.label, cases.columns)),
        [
            (
                text_cell(ids[row]),
                text_cell(texts[row]),
                text_cell(outcomes[row]),
                number_cell(changes[row], signed=True),
                *(rank_cell(float(cases.ranks[name][row]), cases.depth) for name in cases.columns),
            )
            for row in range(n_shown)
        ],
        essential=(cases.label(fuser), cases.label(cases.best_single)),
    )


def hits_table(cases: Cases, row: int) -> Table:
    """Return one case: the first candidates of every column, the targets marked."""
    query = cases.queries.row(row, named=True)
    targets = set(query["targets"] or ())

    def cell(name: str, place: int) -> Cell:
        hit = int(cases.hits[name][row, place])
        image = cases.gallery_ids[hit] if hit >= 0 else ""
        return Cell(image, image, mark="best" if image in targets else "")

    ranks = [rank_cell(float(cases.ranks[name][row]), cases.depth) for name in cases.columns]
    hits = [
        (text_cell(str(place + 1)), *(cell(name, place) for name in cases.columns))
        for place in range(cases.depth)
    ]
    return table(
        f"query {query['query_id']}: {query['text']!r}\n"
        f"reference {', '.join(query['references']) or '(none)'}, "
        f"target {', '.join(sorted(targets)) or '(none)'}",
        ("Place", *map(cases.label, cases.columns)),
        [(text_cell("target at"), *ranks), *hits],
        kinds=["ranks", *("hit" for _ in hits)],
        essential=[cases.label(name) for name in cases.fusers],
    )


def captions_table(cases: Cases, row: int, captions: Mapping[str, str]) -> Table | None:
    """Return the captions of the images of one case; None where none is known."""
    images = dict.fromkeys(_shown_ids(cases.take(np.array([row]))))
    known = [image for image in images if image in captions]
    if not known:
        return None
    lines = [(text_cell(image), text_cell(captions[image])) for image in known]
    return table("Captions of these images", ("Image", "Caption"), lines)


def reasons_table(cases: Cases, fuser: str, row: int) -> Table:
    """Return why a fuser's hits stand where they do, a line per hit and provider."""
    reasons = cases.breakdowns[fuser]
    rows, kinds = [], []
    for place, hit in enumerate(cases.hits[fuser][row].tolist()):
        for k, provider in enumerate(cases.providers if hit >= 0 else ()):
            at = row, place, k
            score = float(reasons.score[at])
            rows.append(
                (
                    text_cell(f"{place + 1} {cases.gallery_ids[hit]}"),
                    text_cell(cases.label(provider)),
                    _said_cell(score, f"{score:.4g}"),
                    _said_cell(standing := float(reasons.standardised[at]), f"{standing:+.2f}"),
                    rank_cell(float(reasons.rank[at])),
                    number_cell(float(reasons.contribution[at]), signed=True),
                    rank_cell(float(reasons.rank_without[at])),
                )
            )
            kinds.append(str(place))
    return table(
        f"Why {cases.label(fuser)} puts them there (scores and contributions in SD of the row)",
        ("Hit", "Model", "Score", "SD", "Its rank", "Contribution", "Rank without it"),
        rows,
        kinds=kinds,
    )


def _said_cell(value: float, text: str) -> Cell:
    """Return the cell of a number; - where a provider's shortlist leaves the hit out."""
    return Cell("-", -math.inf) if math.isnan(value) else Cell(text, value)


def _shown_ids(cases: Cases) -> list[str]:
    """Return every image id the cases show, those of the first cases first."""
    ids = cases.gallery_ids
    hits = np.stack([cases.hits[name] for name in cases.columns], axis=1)  # (Q, columns, depth)
    shown: dict[str, None] = {}
    references, targets_of = (cases.queries[name].to_list() for name in ("references", "targets"))
    for ids_of, targets, row in zip(references, targets_of, hits, strict=True):
        shown.update(dict.fromkeys(ids_of or ()))
        shown.update(dict.fromkeys(targets or ()))
        shown.update((ids[i], None) for i in row.ravel().tolist() if i >= 0)
    return list(shown)


def _payload(
    cases: Cases, shown: list[str], thumbnails: Mapping[str, str], captions: Mapping[str, str]
) -> dict[str, Any]:
    place = {image_id: i for i, image_id in enumerate(shown)}
    position = np.array([place.get(i, -1) for i in cases.gallery_ids] + [-1])  # -1 stays -1
    queries = cases.queries
    names = list(OUTCOMES)
    return {
        "protocol": cases.protocol,
        "depth": cases.depth,
        "providers": cases.providers,
        "fusers": cases.fusers,
        "bestSingle": cases.best_single,
        "labels": dict(cases.labels),
        "outcomes": list(OUTCOMES.items()),
        "images": shown,
        "captions": {place[i]: captions[i] for i in shown if i in captions and i not in thumbnails},
        "thumbnails": {place[i]: uri for i, uri in thumbnails.items()},
        "ids": queries["query_id"].to_list(),
        "texts": queries["text"].to_list(),
        "references": [[place[i] for i in ids or ()] for ids in queries["references"].to_list()],
        "targets": [[place[i] for i in ids or ()] for ids in queries["targets"].to_list()],
        "types": _type_lists(queries["text"].to_list()),
        "outcome": {
            fuser: [names.index(outcome) for outcome in cases.outcomes(fuser).tolist()]
            for fuser in cases.fusers
        },
        "ranks": {name: _ranks(rank) for name, rank in cases.ranks.items()},
        "hits": {name: position[hits].ravel().tolist() for name, hits in cases.hits.items()},
        "parts": {
            name: {
                "standardised": _hundredths(parts.standardised),
                "rank": _ranks(parts.rank.ravel()),
                "contribution": _hundredths(parts.contribution),
                "without": _ranks(parts.rank_without.ravel()),
            }
            for name, parts in cases.breakdowns.items()
        },
    }


def _type_lists(texts: list[str]) -> dict[str, list[int]]:
    return {name: np.flatnonzero(of).tolist() for name, of in query_types(texts).items()}


def _ranks(ranks: NDArray[np.float64]) -> list[float | int | None]:
    """Return ranks as short as JSON has them; None where nothing is ranked."""
    values: list[float] = ranks.tolist()
    return [
        None if not math.isfinite(r) else int(r) if r == int(r) else round(r, 1) for r in values
    ]


def _hundredths(values: NDArray[np.float32]) -> list[int | None]:
    """Return whole hundredths; None where a provider says nothing of a hit."""
    flat = values.astype(np.float64).ravel().tolist()
    return [None if math.isnan(value) else round(value * 100) for value in flat]


def _thumbnail_note(pictures: Thumbnails, n_wanted: int, budget: int) -> str:
    left_out = [
        f"{pictures.over_budget} do not fit the budget of {budget / 1e6:g} MB"
        if pictures.over_budget
        else "",
        f"{pictures.unreadable} could not be read" if pictures.unreadable else "",
    ]
    rest = "; ".join(part for part in left_out if part)
    return f"Thumbnails of {len(pictures.uris)} of {n_wanted} images{'; ' if rest else ''}{rest}."
