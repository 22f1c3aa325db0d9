"""Metrics by name: ``recall@10`` on a command line or in a dataset becomes something to compute,
and ``R@10`` where people read it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import OptionError, closest, expect
from dafm_core.metrics.families import FAMILIES, Head, Needs
from dafm_core.metrics.functional import PerQuery
from dafm_core.metrics.ranking import Places

_MEANS: Final[dict[str, tuple[str, ...]]] = {
    "rmean": ("recall@5", "rsubset@1"),
    "rmean-fashioniq": ("recall@10", "recall@50"),
}
_LABELS: Final = {
    **{name: family.label for name, family in FAMILIES.items()},
    **dict.fromkeys(_MEANS, "Rmean"),
    "mean": "Mean",
}
"""What tables and sentences call a family or a metric; ``mean`` is that of a table's metrics."""
_PRINTED: Final = {
    whole: {f.label.lower(): name for name, f in FAMILIES.items() if f.whole == whole}
    for whole in (False, True)
}
"""The family of each label: mAP with a depth is another one than mAP without."""
EXAMPLES: Final = (
    *(f"{name}@{k}" for name, family in FAMILIES.items() for k in family.depths),
    *(name for name, family in FAMILIES.items() if family.whole),
    *_MEANS,
)
"""Names to suggest from, those of the benchmarks among them; any K is valid."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A per-query metric with its name.

    Parameters
    ----------
    name : str
        ``recall@K``, ``rsubset@K``, ``hit@K``, ``precision@K``, ``map@K``, ``ndcg@K`` (by the
        targets' grades), ``mrr``, ``first@K`` (CIRCO's Recall@K: whether the first-named target is
        among the first K), ``map-trapezoid`` (i-CIR and FreeDom), ``negrecall@K`` and
        ``map-noneg@K`` (PinPoint: how many of the images named as wrong are among the first K, the
        fewer the better, and mAP@K with those out of the ranking), ``rmean`` (CIRR: the mean of
        recall@5 and rsubset@1) or ``rmean-fashioniq`` (the mean of recall@10 and recall@50; the
        mean over the three categories is FashionIQ's Rmean).
    needs : tuple of {"subset", "first", "negatives"}
        What it looks at besides the ranks in the gallery.
    mean_of : tuple of str
        The metrics that it is the mean of; empty for most.
    """

    name: str
    needs: tuple[Needs, ...] = ()
    mean_of: tuple[str, ...] = ()
    compute: Callable[[Places], PerQuery]

    @property
    def heads(self) -> tuple[Head, ...]:
        """The scores that it measures: ``rsubset@1`` the subset's, ``rmean`` both.

        Examples
        --------
        >>> [parse_metric(name).heads for name in ("recall@1", "rsubset@1", "rmean")]
        [('gallery',), ('subset',), ('gallery', 'subset')]
        """
        of_parts = [head for name in self.mean_of for head in parse_metric(name).heads]
        own: tuple[Head, ...] = ("subset",) if "subset" in self.needs else ("gallery",)
        return tuple(dict.fromkeys(of_parts)) or own

    def __call__(self, places: Places) -> PerQuery:
        """Return one value per query, in [0, 1], shape (n_queries,); NaN where it is undecided:
        it depends on candidates without a score.
        """
        return self.compute(places)


def parse_metric(name: str) -> Metric:
    """Return the metric called ``name``, written in full or as tables print it.

    ``Rmean`` is CIRR's: tables of both benchmarks print it so, and without a dataset
    (:func:`parse_metrics`) FashionIQ's has to be written ``rmean-fashioniq``.

    Raises
    ------
    OptionError
        If there is none; the message offers the closest.

    Examples
    --------
    >>> [parse_metric(name).name for name in ("Recall@10", "R@10", "Rs@1")]
    ['recall@10', 'recall@10', 'rsubset@1']
    """
    name = name.strip().lower()
    if name in _MEANS:
        return _mean_of(name, [parse_metric(part) for part in _MEANS[name]])
    written, at, depth = name.partition("@")
    family_name = _PRINTED[not at].get(written, written)
    family = FAMILIES.get(family_name)
    if family is None or family.whole != (not at) or not (family.whole or _is_depth(depth)):
        raise OptionError(f"metrics: unknown metric {name!r}{closest(name, EXAMPLES)}")
    at_k = {} if family.whole else {"k": int(depth)}
    return Metric(
        name="@".join([family_name, *map(str, at_k.values())]),
        needs=family.needs,
        compute=lambda places: family.measure(places, **at_k),
    )


def metric_label(name: str) -> str:
    """Return a metric's name as tables and sentences show it.

    Examples
    --------
    >>> [metric_label(name) for name in ("recall@10", "rsubset@1", "rmean")]
    ['R@10', 'Rs@1', 'Rmean']
    """
    family, at, depth = name.partition("@")
    return f"{_LABELS.get(family, family)}{at}{depth}"


def heads_words(name: str, heads: Sequence[Head], metrics: Sequence[str]) -> str:
    """Say in words which of a row's scores its metrics are of.

    Examples
    --------
    >>> heads_words("light", ("gallery", "subset"), ["recall@1", "rsubset@1", "rmean"])
    'light: the gallery head gives R@1; the subset head gives Rs@1; both give Rmean'
    """
    by_heads: dict[tuple[Head, ...], list[str]] = {}
    for metric in map(parse_metric, metrics):
        by_heads.setdefault(metric.heads, []).append(metric_label(metric.name))
    who: dict[tuple[Head, ...], str] = {(head,): f"the {head} head gives" for head in heads}
    parts = [f"{who.get(k, 'both give')} {', '.join(shown)}" for k, shown in by_heads.items()]
    return f"{name}: {'; '.join(parts)}"


def head_words(name: str, heads: Sequence[Head]) -> str:
    """Return which of a ranking's heads a metric, or a table's ``mean``, is of; empty where there
    is one head for everything.

    Examples
    --------
    >>> both = ["gallery", "subset"]
    >>> [head_words(name, both) for name in ("recall@1", "rsubset@1", "rmean", "mean")]
    ['gallery head', 'subset head', 'both heads', 'both heads']
    >>> head_words("recall@1", ["gallery"])
    ''
    """
    if len(heads) == 1:
        return ""
    of = heads if name == "mean" else parse_metric(name).heads
    return "both heads" if len(of) > 1 else f"{of[0]} head"


def definitions(names: Sequence[str]) -> list[str]:
    """Return what metrics are, a clause for each family among them.

    Examples
    --------
    >>> definitions(["mrr", "rmean"])
    ['MRR: mean of one over the rank of the first target', 'Rmean: the mean of R@5 and Rs@1']
    """
    means = {
        name: f"Rmean: the mean of {' and '.join(map(metric_label, parts))}"
        for name, parts in _MEANS.items()
    }
    said = {name: family.definition for name, family in FAMILIES.items()} | means
    return [said[name] for name in dict.fromkeys(name.partition("@")[0] for name in names)]


def undecided_words(shares: Mapping[str, float]) -> str:
    """Return in words for which share of the queries metrics are undecided.

    Examples
    --------
    >>> undecided_words({"recall@50": 0.25})
    'undecided: R@50 (25.0 % of queries depend on candidates without a score)'
    """
    parts = [f"{metric_label(metric)} ({100 * share:.1f} %" for metric, share in shares.items()]
    last = f"{parts[-1]} of queries depend on candidates without a score)"
    return "undecided: " + ", ".join([*(f"{part})" for part in parts[:-1]), last])


def parse_metrics(names: Sequence[str], *, of: Sequence[str] = ()) -> tuple[Metric, ...]:
    """Return the metrics in the order named, each once.

    Parameters
    ----------
    names : sequence of str
        Written in full or as tables print them. ``Mean`` is passed over: every table has it, over
        the metrics that are named.
    of : sequence of str
        The dataset's own metrics: what its tables print as ``Rmean`` is its own, CIRR's or
        FashionIQ's.

    Raises
    ------
    OptionError
        If a name is unknown, or there is none.

    Examples
    --------
    >>> [m.name for m in parse_metrics(["R@10", "Rmean", "Mean"], of=["rmean-fashioniq"])]
    ['recall@10', 'rmean-fashioniq']
    """
    for name in names:
        expect(name, str, where="metrics", hint="Name them, e.g. recall@10.")
    own = {metric_label(name).lower(): name for name in of}
    printed = [own.get(name.strip().lower(), name) for name in names if name != _LABELS["mean"]]
    if not printed:
        raise OptionError("metrics: expected at least one, got none. Try recall@10.")
    return tuple({metric.name: metric for metric in map(parse_metric, printed)}.values())


def each_once(names: Sequence[str]) -> tuple[str, ...]:
    """Return the metrics without those that are means of others among them.

    What a mean over a table's metrics is taken of: else the parts of Rmean would count 1.5 times.
    ``negrecall``, the only one of which less is better, is left out unless it stands alone.

    Examples
    --------
    >>> each_once(["map@10", "negrecall@10"])
    ('map@10',)
    >>> each_once(["recall@5", "rsubset@1", "rmean"]), each_once(["recall@5", "rmean"])
    (('recall@5', 'rsubset@1'), ('recall@5', 'rmean'))
    """
    better = [name for name in names if not name.startswith("negrecall@")] or names
    return tuple(name for name in better if not set(_MEANS.get(name, (name, ""))) <= set(names))


def measure(places: Places, metrics: Sequence[Metric]) -> NDArray[np.float64]:
    """Return every metric of every query, (n_queries, n_metrics): in [0, 1], NaN if undecided."""
    return np.stack([metric(places) for metric in metrics], axis=1)


def _is_depth(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10 and int(text) >= 1


def _mean_of(name: str, parts: list[Metric]) -> Metric:
    def compute(places: Places) -> PerQuery:
        total: PerQuery = np.sum([part(places) for part in parts], axis=0)
        return total / len(parts)

    needs = tuple(dict.fromkeys(need for part in parts for need in part.needs))
    return Metric(
        name=name, needs=needs, mean_of=tuple(part.name for part in parts), compute=compute
    )
