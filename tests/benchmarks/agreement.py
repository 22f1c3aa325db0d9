"""Weighing providers by how far they agree, without labels: when it helps and when it hurts.

    python -m tests.benchmarks.agreement STORE [--partitions 1]

`debiased` with all providers counting alike, with each counting by what it scores the candidates
that the others like, and without those that agree with no other (what ships); on the store as it
is and with more providers: of noise, of the worst provider's rows beneath noise, and of copies of
the worst provider, which agree with each other. Not collected by pytest.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.evaluation.evaluate import evaluate_providers
from dafm_core.ground.normalize import zscore_rows
from dafm_core.store.stack import SimilarityStack
from dafm_core.store.store import SimilarityStore
from tests.benchmarks.label_free import Bank, Shared, insiders, measure, relative_agreement, table

MISTAKES: Final = 0.5
"""Standard deviation, beside the worst provider's own rows, of what a copy adds."""


def with_more(stack: SimilarityStack, more: dict[str, NDArray[np.float32]]) -> SimilarityStack:
    """Return the stack with more providers."""
    rows = dict(zip(stack.names, stack.matrices, strict=True))
    return SimilarityStack.from_matrices(
        rows | more, stack.dataset, neighbours=stack.gallery.neighbours
    )


def worst(stack: SimilarityStack) -> str:
    """Return the provider with the lowest R@10."""
    found = evaluate_providers(stack, metrics=["recall@10"])
    return min(found, key=lambda name: found[name].values["recall@10"])


def cases(stack: SimilarityStack) -> dict[str, Callable[[], SimilarityStack]]:
    """Return what is tried, by name."""
    rng = np.random.default_rng(0)
    shape = (stack.n_queries, stack.n_gallery)
    name = worst(stack)
    rows = zscore_rows(np.asarray(stack.matrices[stack.names.index(name)], np.float32))

    def noise() -> NDArray[np.float32]:
        return rng.standard_normal(shape, np.float32)

    return {
        "as it is": lambda: stack,
        "and one of noise": lambda: with_more(stack, {"noise": noise()}),
        "and four of noise": lambda: with_more(stack, {f"noise-{i}": noise() for i in range(4)}),
        f"and one of {name} beneath noise": lambda: with_more(stack, {"weak": rows + 2 * noise()}),
        f"and three copies of {name}": lambda: with_more(
            stack, {f"copy-{i}": rows + MISTAKES * noise() for i in range(3)}
        ),
    }


def main() -> None:
    """Measure and print a table for each case."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    arguments = parser.parse_args()
    whole = SimilarityStore.open(arguments.store).stack()
    rules = {
        "all alike": Shared.debiased(),
        "by agreement": Shared.debiased(relative_agreement),
        "outsiders left out": Shared.debiased(insiders),
    }
    for name, make in cases(whole).items():
        if arguments.only not in name:
            continue
        stack = make()
        values = measure(stack, rules, partitions=range(arguments.partitions))
        counts = relative_agreement(Bank(stack))
        shown = ", ".join(f"{n} {c:.2f}" for n, c in zip(stack.names, counts, strict=True))
        print(f"\n{stack.protocol}, {name}; agreement: {shown}\n")
        print("\n".join(table(values, stack.dataset.groups)), flush=True)


if __name__ == "__main__":
    main()
