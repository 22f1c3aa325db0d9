"""What a bank that is read a batch at a time loses: its topics are found from sums of queries.

    python tests/benchmarks/large_bank.py STORE [--held 600]

Cross-fitted metrics of ``debiased`` and of LightFusion's linear part, with whole rows of the bank's
queries, and with so many held at a time and fewer and fewer sums. Not collected by pytest.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dafm_core.catalog import PluginCatalog
from dafm_core.evaluation.crossfit import fit_and_evaluate
from dafm_core.evaluation.design import Folds
from dafm_core.fusion.channels import bank
from dafm_core.store.store import SimilarityStore

FUSERS = {"debiased": {}, "light": {"network": "linear"}}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--held", type=int, default=600, help="queries held at a time")
    args = parser.parse_args()
    stack = SimilarityStore.open(args.store).stack().measured()
    parts, catalog = Folds(5, seed=0).parts(stack), PluginCatalog.discover()
    of_query = 4 * stack.n_providers * stack.n_gallery
    for n_sums in (None, args.held, args.held // 2, args.held // 6):
        if n_sums is not None:
            bank.MAX_BYTES, bank.MAX_MIXTURES = args.held * of_query, n_sums  # type: ignore[misc]
        for name, options in FUSERS.items():
            (found,) = fit_and_evaluate(catalog.load_fuser(name, options), stack, parts)
            values = zip(found.metrics, 100 * found.per_query.mean(axis=0), strict=True)
            of_what = "whole rows" if n_sums is None else f"{n_sums} sums"
            print(f"{of_what:12}{name:10}", *(f"{m} {v:.2f}" for m, v in values), flush=True)


if __name__ == "__main__":
    main()
