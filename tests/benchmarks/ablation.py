"""What each choice in LightFusion is worth, as a page: docs/explanation/ablation.md.

    python tests/benchmarks/ablation.py RESULTS cirr=STORE scenes=STORE [--folds 5]

Measures what RESULTS (a folder, one file per store and configuration) does not hold yet, then
writes the page from all that it holds; without stores it only writes. Every query is scored by
a fusion that has not seen its group. Not collected by pytest.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.crossfit import fit_and_evaluate, fold_splits
from dafm_core.datasets.base import Dataset
from dafm_core.fusion.base import Fuser
from dafm_core.fusion.light import LightFusion
from dafm_core.fusion.logistic import LogisticFusion
from dafm_core.fusion.static import BestSingle, MeanFusion, VotingFusion, WeightedFusion
from dafm_core.plugins import resolve
from dafm_core.stacking import SimilarityStack
from dafm_core.statistics import Resampler
from dafm_core.store import SimilarityStore

PAGE: Final = Path(__file__).parents[2] / "docs/explanation/ablation.md"
INTRODUCTION: Final = Path(__file__).with_name("ablation.intro.md")
METRICS: Final = ("recall@1", "recall@5", "recall@10", "recall@50", "rsubset@1", "rmean")
HEADS: Final = ("R@1", "R@5", "R@10", "R@50", "Rs@1", "Rmean")
FAMILIES: Final = ("rows", "restandardized", "ranks", "reverse", "neighbours")
ALL: Final = ",".join(FAMILIES)
HEADER_LINES: Final = 2


@dataclass(frozen=True)
class Setting:
    """One line of the page."""

    section: str
    name: str
    make: Callable[..., Fuser]
    options: dict[str, Any] = field(default_factory=dict)
    shuffled: bool = False

    @property
    def key(self) -> str:
        """Name of the result's file."""
        words = f"{self.section} {self.name}".lower()
        return "".join(c if c.isalnum() else "-" for c in words)


def settings() -> Iterator[Setting]:
    """Yield every configuration; the first of a section is what the others are compared with."""
    light, linear = LightFusion, {"network": "linear"}
    yield Setting("Peers", "light (default)", light)
    yield Setting("Peers", "best single", BestSingle)
    yield Setting("Peers", "mean, tuned", MeanFusion)
    yield Setting("Peers", "weights on the simplex", WeightedFusion)
    yield Setting("Peers", "reciprocal rank, tuned", VotingFusion, {"rule": "rrf"})
    yield Setting("Peers", "logistic, row scores only", LogisticFusion)
    yield Setting("Peers", "logistic, same inputs", LogisticFusion, {"inputs": ALL})
    yield Setting("Peers", "linear InfoNCE, same inputs", light, linear)
    yield Setting("Peers", "LambdaMART, same inputs", lambdamart, {"inputs": ALL})
    yield Setting("Inputs (linear)", "all", light, linear)
    for lost in FAMILIES:
        kept = ",".join(name for name in FAMILIES if name != lost)
        yield Setting("Inputs (linear)", f"without {lost}", light, linear | {"inputs": kept})
    yield Setting("Inputs (linear)", "rows only", light, linear | {"inputs": "rows"})
    for more in ("columns", "neighbour-rows"):
        options = linear | {"inputs": f"{ALL},{more}"}
        yield Setting("Inputs (linear)", f"with {more}", light, options)
    for order in ("file", "shuffled"):
        for shuffled in (False, True):
            where = "shuffled" if shuffled else "file"
            options = {"preset": "paper", "gallery_order": order}
            name = f"trained in {order} order, used in {where} order"
            yield Setting("Preset paper", name, light, options, shuffled)
    for rule in ("fixed", "adaptive", "learned"):
        options = {"preset": "paper", "temperature_rule": rule}
        yield Setting("Preset paper", f"temperature {rule}, file order", light, options)
    longer = {"preset": "paper", "gallery_order": "file", "temperature": 0.1}
    longer |= {"n_epochs": 12, "batch_size": 64}
    for shuffled in (False, True):
        where = "shuffled" if shuffled else "file"
        name = f"20 times the steps, tau 0.1, file order, used in {where} order"
        yield Setting("Preset paper", name, light, longer, shuffled)
    yield Setting("Network", "three networks (default)", light)
    yield Setting("Network", "one network", light, {"n_seeds": 1})
    yield Setting("Network", "five networks", light, {"n_seeds": 5})
    yield Setting("Network", "none (linear)", light, linear)
    yield Setting("Network", "no provider dropout", light, {"provider_dropout": 0.0})
    yield Setting("Network", "provider dropout 0.3", light, {"provider_dropout": 0.3})
    yield Setting("Network", "32 hidden units", light, {"n_hidden": 32})
    yield Setting("Objective (linear)", "gallery + 0.3 subset (default)", light, linear)
    yield Setting("Objective (linear)", "gallery", light, linear | {"objective": "gallery"})
    for weight in (0.1, 1.0, 3.0):
        options = linear | {"subset_weight": weight}
        yield Setting("Objective (linear)", f"gallery + {weight:g} subset", light, options)
    yield Setting("Objective (linear)", "subset", light, linear | {"objective": "subset"})
    yield Setting("Candidates (linear)", "sampled (default)", light, linear)
    yield Setting("Candidates (linear)", "exact", light, linear | {"candidates": "exact"})
    small = linear | {"n_hard": 10, "n_uniform": 20}
    yield Setting("Candidates (linear)", "sampled, a third of them", light, small)
    yield Setting("Temperature (one network)", "fixed (default)", light, {"n_seeds": 1})
    for rule in ("learned", "adaptive", "paper"):
        options = {"n_seeds": 1, "temperature_rule": rule}
        yield Setting("Temperature (one network)", rule, light, options)


def lambdamart(**options: Any) -> Fuser:
    """Return the plugin's fuser, where it is installed."""
    fuser: Fuser = resolve("dafm_plugin_lambdamart.fuser:LambdaMartFusion", where="lambdamart")(
        **options
    )
    return fuser


def measure(results: Path, name: str, store: Path, n_folds: int) -> None:
    """Store the per-query metrics of every setting that is not stored yet."""
    opened = SimilarityStore.open(store)
    dataset: Dataset = opened.dataset
    stack = SimilarityStack.from_store(opened)
    order = np.random.default_rng(0).permutation(stack.n_gallery)
    shuffled = stack.take_gallery([stack.gallery_ids[j] for j in order])
    splits = fold_splits(dataset, n_folds)
    for setting in settings():
        path = results / f"{name}.{setting.key}.npz"
        if path.exists():
            continue
        fuser, start = setting.make(**setting.options), time.process_time()
        used = shuffled if setting.shuffled else stack
        found = fit_and_evaluate(
            fuser, [used], dataset, splits, train_stack=stack, metrics=METRICS
        )[0]
        seconds = (time.process_time() - start) / n_folds
        np.savez(path, values=found.per_query, groups=dataset.groups, seconds=seconds)
        means = " ".join(f"{100 * v:6.2f}" for v in found.per_query.mean(axis=0))
        print(f"{name:8} {setting.section[:10]:10} {setting.name:45} {means} {seconds:5.1f} s")


def page(results: Path) -> str:
    """Return the page of everything stored."""
    names = sorted({path.name.split(".")[0] for path in results.glob("*.npz")})
    lines = [INTRODUCTION.read_text(encoding="utf-8")]
    for name in names:
        facts = _load(results, name, next(iter(settings())))
        if facts is None:
            continue
        n_groups = len(np.unique(facts["groups"]))
        lines.append(f"\n## On {name}: {len(facts['groups'])} queries in {n_groups} groups\n")
        sections: dict[str, list[Setting]] = {}
        for setting in settings():
            sections.setdefault(setting.section, []).append(setting)
        missing = []
        for section, members in sections.items():
            table = list(_table(results, name, members))
            missing += [m.name for m in members if _load(results, name, m) is None]
            if len(table) > HEADER_LINES:
                lines += [f"\n### {section}\n", *table]
        if missing:
            lines.append(f"\nNot measured yet on {name}: {'; '.join(missing)}.")
    return "\n".join(lines) + "\n"


def _table(results: Path, name: str, members: list[Setting]) -> Iterator[str]:
    head = " | ".join(HEADS)
    yield f"| | {head} | R@10 minus the first row's | mean of metrics, likewise | fit, CPU s |"
    yield "|---" * (len(HEADS) + 4) + "|"
    first = _load(results, name, members[0])
    for setting in members:
        facts = _load(results, name, setting)
        if facts is None or first is None:
            continue
        values = facts["values"]
        shown = " | ".join(f"{100 * value:.2f}" for value in values.mean(axis=0))
        cells = "| |" if setting is members[0] else _differences(values, first)
        yield f"| {setting.name} | {shown} {cells} {float(facts['seconds']):.1f} |"


def _differences(values: NDArray[Any], first: dict[str, NDArray[Any]]) -> str:
    """Return two cells: difference of R@10 and of the metrics' mean, with 95 % intervals."""
    away = 100 * (values - first["values"])
    pair = np.stack([away[:, METRICS.index("recall@10")], away.mean(axis=1)], axis=1)
    low, high, _ = Resampler(first["groups"]).summary(pair)
    cells = zip(pair.mean(axis=0), low, high, strict=True)
    return "| " + " | ".join(f"{m:+.2f} [{a:+.2f}, {b:+.2f}]" for m, a, b in cells) + " |"


def _load(results: Path, name: str, setting: Setting) -> dict[str, NDArray[Any]] | None:
    path = results / f"{name}.{setting.key}.npz"
    return dict(np.load(path)) if path.exists() else None


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("stores", nargs="*", metavar="NAME=STORE")
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    for pair in arguments.stores:
        name, store = pair.split("=", 1)
        measure(arguments.results, name, Path(store), arguments.folds)
    PAGE.write_text(page(arguments.results), encoding="utf-8")


if __name__ == "__main__":
    main()
