"""Weights of `debiased` learned on other worlds, measured on the one that was left out.

    python -m tests.benchmarks.worlds cirr=STORE scenes=STORE fashioniq=STORE [--on cirr,scenes]

A world is a data set with its models; worlds whose names are alike up to a dash (``cirr``,
``cirr-strong``) share something and are left out together. On each world the weights that all its
models share are fitted by InfoNCE in three forms: six numbers, four, or one (the neighbours' weight
beside three views that count alike). What a world is measured with is the mean of the others',
scaled alike; and, of the form with one number, the one with which the mean of the others' losses is
least, so that a world counts as much as the number matters there. Not collected by pytest.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from scipy.optimize import minimize_scalar

from dafm_core.fusion.channels.examples import Examples, make_examples
from dafm_core.fusion.channels.families import DEFAULT_INPUTS, NEIGHBOUR_FAMILIES, parse_families
from dafm_core.fusion.channels.layout import Layout
from dafm_core.fusion.channels.view import usable_families
from dafm_core.fusion.light.linear import Prior, fit_linear
from dafm_core.fusion.light.linear import scaled as sharpened
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
GALLERY: Final = LossWeights(1.0, 0.0)
Weights: TypeAlias = dict[str, float]
"""By family."""
ByHead: TypeAlias = dict[Head, Weights]


def of_all(stack: SimilarityStack) -> Examples:
    """Return examples whose channels are means over the providers."""
    families = usable_families(stack.gallery, FORMS["six numbers"])
    examples = make_examples(stack, families, n_hard=30, n_uniform=64, seed=0)
    shape = (len(examples), len(families), stack.n_providers, -1)
    return replace(
        examples,
        layout=Layout(families, ("all",)),
        channels=examples.channels.reshape(shape).mean(axis=2),
    )


def learned(shared: Examples) -> dict[str, ByHead]:
    """Return the best weights that all providers share, by form and head; no query may have a
    subset.
    """
    heads: dict[Head, Examples] = {"gallery": shared}
    if len(within := shared.within_subsets()):
        heads["subset"] = within
    return {
        form: {head: _fitted(examples, members, head) for head, examples in heads.items()}
        for form, members in FORMS.items()
    }


def together(worlds: Sequence[Examples]) -> ByHead:
    """Return the form with one number, fitted on several worlds at once, each of its own sharpness.

    Neighbours rank galleries only, so that there is nothing to learn for subsets.
    """
    known = [_views_and(("neighbours",), examples) for examples in worlds]

    def loss(number: float) -> float:
        weights = np.array([1.0, number])
        return float(np.mean([_least_loss(examples, weights) for examples in known]))

    found = float(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x)
    alike = dict.fromkeys(VIEWS, 1.0)
    return {"gallery": alike | {"neighbours": found}, "subset": alike}


def _least_loss(examples: Examples, weights: np.ndarray) -> float:
    """Return the loss of the multiple of some weights that fits best."""
    sharp = Prior.alike(sharpened(examples, GALLERY, weights))
    return fit_linear(examples, GALLERY, prior=sharp, strength=math.inf).loss


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
    found = _solve(_views_and(used, examples))
    return {**dict.fromkeys(VIEWS, 1.0), **dict(zip(used, found[1:] / found[0], strict=True))}


def _views_and(others: Sequence[str], examples: Examples) -> Examples:
    """Return examples whose first channel is the sum of the views."""
    views = examples.of_families(VIEWS).channels.sum(axis=1, keepdims=True)
    rest = examples.of_families(tuple(others)).channels
    joined = np.concatenate([views, rest], axis=1)
    return replace(examples, layout=Layout(("views", *others), ("all",)), channels=joined)


def _solve(examples: Examples) -> np.ndarray:
    prior = Prior.alike(np.zeros(examples.layout.n_channels))
    return fit_linear(examples, GALLERY, prior=prior, strength=1.0).weights


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
    others = [worlds[name][form] for name in others_of(left_out, worlds)]
    by_head = {head: [other[head] for other in others if head in other] for head in HEADS}
    return {
        head: {
            name: float(np.mean([weights.get(name, 0.0) for weights in known]))
            for name in dict.fromkeys(name for weights in known for name in weights)
        }
        for head, known in by_head.items()
        if known
    }


def others_of(left_out: str, worlds: Iterable[str]) -> list[str]:
    """Return the names of the worlds that share nothing with one.

    Raises
    ------
    ValueError
        If there is none.
    """
    others = [name for name in worlds if _kind(name) != _kind(left_out)]
    if not others:
        raise ValueError(f"{left_out}: expected other worlds to learn from, got none.")
    return others


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
    examples = {name: of_all(stack) for name, stack in stacks.items()}
    worlds = {name: learned(shared) for name, shared in examples.items()}
    for name, forms in worlds.items():
        for form, by_head in forms.items():
            for head, weights in by_head.items():
                shown = ", ".join(f"{family} {w:.2f}" for family, w in weights.items())
                print(f"{name}, {form}, {head}: {shown}", flush=True)
    for name in arguments.on.split(",") if arguments.on else stacks:
        rules: dict[str, Rule] = {"debiased, as shipped": Shared.debiased()}
        for form in FORMS:
            rules[f"{form}, from the other worlds"] = Shared(without(worlds, name, form))
        pooled = together([examples[other] for other in others_of(name, worlds)])
        print(f"{name}, one number, fitted on the others: {pooled['gallery']['neighbours']:.2f}")
        rules["one number, fitted on the other worlds at once"] = Shared(pooled)
        rules["four numbers, from this very world"] = Shared(worlds[name]["four numbers"])
        values = measure(stacks[name], rules, partitions=range(arguments.partitions))
        print(f"\n{name}, {arguments.partitions} partitions\n")
        print("\n".join(table(values, stacks[name].dataset.groups)), flush=True)


if __name__ == "__main__":
    main()
