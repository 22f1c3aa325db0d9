"""What a search answers: hits, what each provider says of them, and how sure all of it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """What one provider says of one hit.

    Parameters
    ----------
    score : float or None
        Its own score; None where it was not asked.
    standardised : float or None
        The same in standard deviations of its row.
    rank : float or None
        Where it alone ranks the hit.
    contribution : float or None
        How much higher the hit stands because of it, in standard deviations of the fused row.
    rank_without : float or None
        Where the fusion ranks the hit without it.
    """

    score: float | None
    standardised: float | None = None
    rank: float | None = None
    contribution: float | None = None
    rank_without: float | None = None

    @classmethod
    def plain(cls, score: float | None, standardised: float | None) -> Opinion:
        """Return what one says without explaining it; an answer has hundreds of them.

        The other fields keep their defaults: to set all of them, one by one, as the constructor of
        what is frozen does, takes four times as long.
        """
        made = object.__new__(cls)
        made.__dict__.update(score=score, standardised=standardised)
        return made


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One image of an answer.

    Parameters
    ----------
    rank : int
        From 1.
    image_id : str
    score : float
        Fused.
    opinions : mapping of str to Opinion
        By provider.
    """

    rank: int
    image_id: str
    score: float
    opinions: Mapping[str, Opinion] = field(default_factory=dict)

    @classmethod
    def plain(cls, rank: int, image_id: str, score: float) -> Hit:
        """Return one without opinions; see :meth:`Opinion.plain`."""
        made = object.__new__(cls)
        made.__dict__.update(rank=rank, image_id=image_id, score=score, opinions={})
        return made


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer to one query.

    Parameters
    ----------
    hits : tuple of Hit
        Best first.
    singles : mapping of str to tuple of Hit
        What each provider alone would have shown.
    left_out : mapping of str to str
        Providers that this answer does without, and why.
    n_scored : int
        Images that every provider scored.
    n_images : int
        Images of the gallery.
    estimated : tuple of str
        What was estimated instead of computed, in words; nothing where the ranking is exact.
    notes : tuple of str
        What the index says of itself.
    seconds : float
    """

    hits: tuple[Hit, ...]
    singles: Mapping[str, tuple[Hit, ...]]
    left_out: Mapping[str, str]
    n_scored: int
    n_images: int
    estimated: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def image_ids(self) -> tuple[str, ...]:
        """The hits' images, best first."""
        return tuple(hit.image_id for hit in self.hits)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)
