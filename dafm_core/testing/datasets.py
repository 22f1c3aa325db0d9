"""What every dataset must hold to: its parts fit each other, and it can be measured and stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from dafm_core.datasets.base import Dataset
from dafm_core.errors import DafmError
from dafm_core.evaluation.evaluate import evaluate_providers
from dafm_core.ground.printable import printable
from dafm_core.metrics.spec import metric_label, parse_metrics
from dafm_core.store.stack import SimilarityStack
from dafm_core.store.store import SimilarityStore
from dafm_core.testing.results import Battery, Check, CheckFailed, CheckResult, NotApplicable

N_LOOKED_AT: Final = 64
"""Queries that are ranked, and images that are opened."""

_battery = Battery(at_least=8)


@dataclass(frozen=True)
class DatasetSubject:
    """A dataset under test.

    Parameters
    ----------
    load : callable
        Reads it; called twice.
    """

    load: Callable[[], Dataset]

    @cached_property
    def dataset(self) -> Dataset:
        """What the first call gave."""
        return self.load()

    @cached_property
    def measured(self) -> Dataset:
        """The first queries that have a target in the gallery.

        Raises
        ------
        NotApplicable
            If there are none, as in the test split of a benchmark.
        """
        counts = self.dataset.targets.counts
        rows = np.flatnonzero(counts)[:N_LOOKED_AT]
        if not len(rows):
            raise NotApplicable("no query has a target in the gallery")
        return self.dataset.take([self.dataset.query_ids[row] for row in rows])


def dataset_checks() -> tuple[Check, ...]:
    """Return every check; each is called with a DatasetSubject."""
    return tuple(_battery.checks)


def check_dataset(load: Callable[[], Dataset]) -> list[CheckResult]:
    """Run every check on what a function reads.

    Returns
    -------
    list of CheckResult
        One per check, in a fixed order; ``summarize`` counts them.
    """
    return _battery.run(DatasetSubject(load))


@_battery.add("It is read: a Dataset, with queries and a gallery.")
def _is_read(subject: DatasetSubject) -> None:
    if not isinstance(subject.dataset, Dataset):
        raise CheckFailed(f"expected a Dataset, got {type(subject.dataset).__name__}")
    if not subject.dataset.n_queries:
        raise CheckFailed("there is no query")


@_battery.add("Reading it twice gives equal datasets, in the same order.")
def _read_twice(subject: DatasetSubject) -> None:
    again, first = subject.load(), subject.dataset
    if again.gallery_ids.sha256 != first.gallery_ids.sha256 or again != first:
        raise CheckFailed("the second reading differs. Sort what a folder or a set gives")


@_battery.add("The protocol is a name: lower case, digits, hyphens; split and options are in it.")
def _protocol(subject: DatasetSubject) -> None:
    name = subject.dataset.protocol
    if not name or name != name.lower() or not name.replace("-", "").isalnum():
        raise CheckFailed(f"expected a name like cirr-val, got {name!r}")


@_battery.add("Ids can be seen: no hidden character, no blank at an end.")
def _ids(subject: DatasetSubject) -> None:
    for image_id in (*subject.dataset.gallery_ids, *subject.dataset.query_ids):
        if not image_id or image_id != image_id.strip() or printable(image_id) != image_id:
            raise CheckFailed(f"id {image_id!r}")


@_battery.add("Every id that a query names is in the gallery, and no query excludes its target.")
def _problems(subject: DatasetSubject) -> None:
    if problems := subject.dataset.problems():
        raise CheckFailed("; ".join(problems))


@_battery.add("Every query asks for something: it has a text or a reference image.")
def _asks(subject: DatasetSubject) -> None:
    columns = subject.dataset.queries.select("query_id", "references", "text").iter_rows()
    silent = [query_id for query_id, images, text in columns if not images and not text.strip()]
    if silent:
        raise CheckFailed(f"{len(silent)} queries ask for nothing, the first {silent[0]!r}")


@_battery.add("Its metrics are known, and its queries have what they look at.")
def _metrics(subject: DatasetSubject) -> None:
    own = subject.dataset.metrics
    if not own:
        raise CheckFailed("no metric is named")
    parse_metrics(own, of=own)
    try:
        _measure(subject.measured, perfect=True)
    except DafmError as error:
        raise CheckFailed(str(error)) from error


@_battery.add("A ranking with all targets first is perfect, and one of constant scores is not.")
def _can_be_measured(subject: DatasetSubject) -> None:
    dataset = subject.measured
    perfect, constant = (_measure(dataset, perfect=kind) for kind in (True, False))
    n_targets = dataset.targets.counts.max()
    for metric, value in perfect.items():
        depth = metric.partition("@")[2]
        reachable = not depth or int(depth) >= n_targets
        if reachable and not np.isclose(value, 1):
            raise CheckFailed(f"{metric_label(metric)} is {100 * value:.1f} with targets first")
        if constant[metric] > value:
            raise CheckFailed(f"{metric_label(metric)} is higher with constant scores")


@_battery.add("It has groups to split by, and both parts keep queries.")
def _splits(subject: DatasetSubject) -> None:
    if len(set(subject.dataset.groups.tolist())) < 2:
        raise CheckFailed("there is one group only: give each image set, or each query, its own")
    parts = subject.dataset.split(test_size=0.5, seed=0)
    if not all(part.n_queries for part in parts):
        raise CheckFailed("a half of the groups holds no query")


@_battery.add("A store keeps it: what is opened again is equal.")
def _stored(subject: DatasetSubject) -> None:
    with TemporaryDirectory(prefix="dafm-check-") as folder:
        SimilarityStore.create(Path(folder) / "store", subject.dataset)
        opened = SimilarityStore.open(Path(folder) / "store").dataset
        if opened != subject.dataset:
            raise CheckFailed("a store gives another dataset back")


@_battery.add("Images that it says are there can be opened.")
def _images(subject: DatasetSubject) -> None:
    paths = dict(list(subject.dataset.images.items())[:N_LOOKED_AT])
    if not paths:
        raise NotApplicable("it names no image files")
    for image_id in paths:
        subject.dataset.image(image_id).open()
    unknown = set(paths) - subject.dataset.gallery_ids.place.keys()
    named = {i for ids in subject.dataset.queries["references"].to_list() for i in ids}
    if unknown - named:
        raise CheckFailed(f"files of images that nothing names, e.g. {min(unknown - named)!r}")


def _measure(dataset: Dataset, *, perfect: bool) -> dict[str, float]:
    """Return every metric of a ranking with all targets first, or of constant scores."""
    scores = np.zeros((dataset.n_queries, dataset.n_gallery), np.float32)
    if perfect:
        scores[dataset.targets.rows, dataset.targets.values] = 1
    stack = SimilarityStack.from_matrices({"check": scores}, dataset)
    return evaluate_providers(stack)["check"].values
