"""Weights of `debiased` learned on other worlds, measured on the one that was left out.

    python -m tests.benchmarks.worlds cirr=STORE scenes=STORE planted=STORE [--on cirr,scenes]

A world is a data set with its models; worlds whose names are alike up to a dash (``cirr``,
``cirr-strong``) share something and are left out together. On each world the weights that all its
models share are fitted by InfoNCE in three forms: six numbers, four, or one (the neighbours' weight
beside three views that count alike). What a world is measured with is the mean of the others',
scaled alike. Not collected by pytest.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from dafm_core.fusion.channels.examples import Examples, make_examples
from dafm_core.fusion.channels.families import DEFAULT_INPUTS, NEIGHBOUR_FAMILIES, parse_families
from dafm_core.fusion.channels.layout import Layout
from dafm_core.fusion.channels.view import usable_families
from dafm_core.fusion.light.linear import Prior, fit_linear
from dafm_core.fusion.light.options import LossWeights
from dafm_core.metrics.families import HEADS, Head
from dafm_core.store.stack import SimilarityStack
from dafm_core.store.store import SimilarityStore
from tests.benchmarks.label_free import Rule, Shared, measure, table

VIEWS: Final = ("ranks", "reverse", "topics")
FORMS: Final[Mapping[str, tuple[str, ...]]] = {
    "six numbers": parse_families(DEFAULT_INPUTS, where="worlds"),
    "four numbers": (*VIEWS, "neighbours"),
    "one number": ("neighbours",),
}
Weights: TypeAlias = dict[str, float]
"""By family."""
ByHead: TypeAlias = dict[Head, Weights]


def learned(stack: SimilarityStack) -> dict[str, ByHead]:
    """Return the best weights that all providers share, by form and head."""
    families = usable_families(stack.gallery, FORMS["six numbers"])
    examples = make_examples(stack, families, n_hard=30, n_uniform=64, seed=0)
    shape = (len(examples), len(families), stack.n_providers, -1)
    shared = replace(
        examples,
        layout=Layout(families, ("all",)),
        channels=examples.channels.reshape(shape).mean(axis=2),
    )
    heads = {"gallery": shared, "subset": shared.within_subsets()}
    return {
        form: {head: _fitted(heads[head], members, head) for head in HEADS}
        for form, members in FORMS.items()
    }


def _fitted(examples: Examples, members: Sequence[str], head: Head) -> Weights:
    """Return one head's weights in one form; neighbours rank galleries only."""
    known = examples.layout.families
    used = [
        name
        for name in members
        if name in known and (head == "gallery" or name not in NEIGHBOUR_FAMILIES)
    ]
    if "ranks" in members:
        found = _solve(examples.of_families(tuple(name for name in known if name in used)))
        return scaled(dict(zip((n for n in known if n in used), found, strict=True)))
    views = examples.of_families(VIEWS).channels.sum(axis=1, keepdims=True)
    rest = examples.of_families(tuple(used)).channels
    joined = np.concatenate([views, rest], axis=1)
    layout = Layout(("views", *used), ("all",))
    found = _solve(replace(examples, layout=layout, channels=joined))
    return {**dict.fromkeys(VIEWS, 1.0), **dict(zip(used, found[1:] / found[0], strict=True))}


def _solve(examples: Examples) -> np.ndarray:
    prior = Prior.alike(np.zeros(examples.layout.n_channels))
    return fit_linear(examples, LossWeights(1.0, 0.0), prior=prior, strength=1.0).weights


def scaled(weights: Weights) -> Weights:
    """Return the weights with the three views' summing up to three.

    Examples
    --------
    >>> scaled({"ranks": 0.5, "reverse": 0.5, "topics": 0.5, "neighbours": 0.25})
    {'ranks': 1.0, 'reverse': 1.0, 'topics': 1.0, 'neighbours': 0.5}
    """
    total = sum(weights[name] for name in VIEWS)
    return {name: float(3 * weight / total) for name, weight in weights.items()}


def without(worlds: Mapping[str, dict[str, ByHead]], left_out: str, form: str) -> ByHead:
    """Return the mean of the weights of all worlds but one and those that are like it.

    Raises
    ------
    ValueError
        If no other world is left.
    """
    others = [w[form] for name, w in worlds.items() if _kind(name) != _kind(left_out)]
    if not others:
        raise ValueError(f"{left_out}: expected other worlds to learn from, got none.")
    return {
        head: {
            name: float(np.mean([other[head].get(name, 0.0) for other in others]))
            for name in dict.fromkeys(name for other in others for name in other[head])
        }
        for head in HEADS
    }


def _kind(name: str) -> str:
    return name.partition("-")[0]


def main() -> None:
    """Learn on every world, and print what the others' weights reach on each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("worlds", nargs="+", metavar="NAME=STORE")
    parser.add_argument("--on", default="", help="measure on these only, by name")
    parser.add_argument("--partitions", type=int, default=3)
    arguments = parser.parse_args()
    paths = dict(pair.split("=", 1) for pair in arguments.worlds)
    stacks = {name: SimilarityStore.open(Path(path)).stack() for name, path in paths.items()}
    worlds = {name: learned(stack) for name, stack in stacks.items()}
    for name, forms in worlds.items():
        for form, by_head in forms.items():
            for head, weights in by_head.items():
                shown = ", ".join(f"{family} {w:.2f}" for family, w in weights.items())
                print(f"{name}, {form}, {head}: {shown}", flush=True)
    for name in arguments.on.split(",") if arguments.on else stacks:
        rules: dict[str, Rule] = {"debiased, as shipped": Shared.debiased()}
        for form in FORMS:
            rules[f"{form}, from the other worlds"] = Shared(without(worlds, name, form))
        rules["four numbers, from this very world"] = Shared(worlds[name]["four numbers"])
        values = measure(stacks[name], rules, partitions=range(arguments.partitions))
        print(f"\n{name}, {arguments.partitions} partitions\n")
        print("\n".join(table(values, stacks[name].dataset.groups)), flush=True)


if __name__ == "__main__":
    main()
