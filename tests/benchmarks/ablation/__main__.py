"""What each choice in LightFusion is worth, as a page: docs/explanation/ablation.md.

    python tests/benchmarks/ablation                               # write the page
    python tests/benchmarks/ablation cirr=STORE scenes=STORE       # measure what is missing
    python tests/benchmarks/ablation cirr=STORE --bank cirr=STORE  # foreign queries in the bank

Every query is ranked by a fusion that has not seen its group. Results are one file a data set,
beside this one; ``older`` has those of an earlier version, with what ``dafm incremental STORE
--json NAME.orders.json`` wrote. Delete a file to measure anew. Not collected by pytest.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Final

from page import draw_frontier, page
from results import Results

from dafm_core.store.store import SimilarityStore

HERE: Final = Path(__file__).parent
EXPLANATION: Final = HERE.parents[2] / "docs/explanation"


def write_page(results: Path, folder: Path) -> None:
    """Write ablation.md and frontier.svg of all that is stored."""
    measured, older = (
        [Results.read(path) for path in sorted(place.glob("*.npz"))]
        for place in (results, results / "older")
    )
    orders = {
        path.name.split(".")[0]: json.loads(path.read_text(encoding="utf-8"))
        for path in (results / "older").glob("*.orders.json")
    }
    text = page((HERE / "intro.md").read_text(encoding="utf-8"), measured, older, orders)
    (folder / "ablation.md").write_text(text, encoding="utf-8")
    draw_frontier(older, folder / "frontier.svg")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="ablation", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("stores", nargs="*", metavar="NAME=STORE")
    parser.add_argument("--bank", action="append", default=[], metavar="NAME=STORE")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only", metavar="SECTION", help="measure this section only")
    parser.add_argument("--results", type=Path, default=HERE, help="folder of the stored results")
    arguments = parser.parse_args()
    banks = dict(pair.split("=", 1) for pair in arguments.bank)
    for pair in arguments.stores:
        name, path = pair.split("=", 1)
        bank = SimilarityStore.open(Path(banks[name])).stack() if name in banks else None
        Results.read(arguments.results / f"{name}.npz").measure(
            SimilarityStore.open(Path(path)).stack(),
            n_folds=arguments.folds,
            bank=bank,
            only=arguments.only,
        )
    if not arguments.stores:
        write_page(arguments.results, EXPLANATION)


if __name__ == "__main__":
    main()
