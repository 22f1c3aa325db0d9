"""``dafm search``: one live query over an index."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from dafm_core.cli.arguments import add_json, add_saved_or_named, add_verify, read_settings
from dafm_core.cli.watching import watch_models
from dafm_core.errors import OptionError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dafm_core.search.answers import Answer, Opinion
    from dafm_core.search.search import Search
    from dafm_core.tables.cells import Cell, Table

EXAMPLES = {
    "search": "examples:\n"
    '  dafm search index/ --model light/ --image dress.jpg --text "the same, but red"\n'
    "  dafm search index/ --model light/ --text sofa --filter \"room = 'living'\" --json",
}
ADVICE = "Repair it, or do without it (--without NAME)."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the index, the model and the query."""
    add_index(parser)
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="FILE|ID",
        help="a reference: a file, or the id of an image of the index; repeatable",
    )
    parser.add_argument("--text", default="", help="what should change, or what to find")
    parser.add_argument("-k", type=int, default=10, help="hits (default 10)")
    parser.add_argument(
        "--filter", help="condition on the index's columns, e.g. \"kind = 'dress'\" (SQL)"
    )
    parser.add_argument(
        "--vector",
        action="append",
        default=[],
        metavar="NAME=FILE.npy",
        help="the query's features, for a provider whose features were made elsewhere; repeatable",
    )
    add_json(parser)


def add_index(parser: argparse.ArgumentParser, *, timeout: float | None = None) -> None:
    """Add INDEX, --model, --set, --budget and --timeout."""
    parser.add_argument("index", metavar="INDEX", type=Path, help="folder of the gallery index")
    add_saved_or_named(parser)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME.KEY=VALUE",
        help="an option of a provider that replaces the index's, e.g. where a checkpoint lies here",
    )
    parser.add_argument(
        "--budget",
        type=int,
        default=50,
        help="images of a query's head that a pair provider is asked about (default 50)",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        default=timeout,
        help="leave a model out of the answers, until it returns, if a call of it takes longer "
        f"({'no limit by default' if timeout is None else f'default {timeout:g}'})",
    )
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="NAME",
        help="a model to do without: neither loaded nor asked; repeatable",
    )
    add_verify(parser, "index")


def open_search(args: argparse.Namespace, without: Mapping[str, str] | None = None) -> Search:
    """Return the search that the arguments of :func:`add_index` describe.

    Parameters
    ----------
    args : argparse.Namespace
    without : mapping of str to str, optional
        More models to do without, and why.
    """
    from dafm_core.cli.index import read_provider_settings
    from dafm_core.cli.models import open_fuser
    from dafm_core.search.index import GalleryIndex
    from dafm_core.search.search import Search

    if args.budget < 0:
        raise OptionError(f"--budget: expected 0 or more, got {args.budget}.")
    index = GalleryIndex.open(args.index, verify=args.verify)
    left_out = dict.fromkeys(args.without, "left out (--without)") | dict(without or {})
    if left_out.keys() >= set(index.names):
        raise OptionError(f"--without: expected a model to be left of {', '.join(index.names)}.")
    return Search(
        index,
        open_fuser(args.model),
        without=left_out,
        settings=read_provider_settings(args.set),
        budget=args.budget,
        timeout=args.timeout,
    )


def run(args: argparse.Namespace) -> None:
    """Answer, and print the hits with what each provider says of them."""
    watch_models("dafm search", advice=ADVICE)
    from dafm_core.reporting.saying import print_json, say
    from dafm_core.reporting.terminal import print_table

    with redirect_stdout(sys.stderr):  # what a model prints is no answer
        answer = open_search(args).query(
            args.image, args.text, args.k, filter=args.filter, vectors=_vectors(args.vector)
        )
    if args.json:
        print_json(answer.to_json())
        return
    print_table(_table(answer))
    for name, why in answer.left_out.items():
        say(f"left out {name}: {why}")
    for line in (*answer.estimated, *answer.notes):
        say(f"note: {line}")


def _vectors(pairs: list[str]) -> dict[str, NDArray[np.generic]]:
    import numpy as np

    from dafm_core.ground.sources import source_array

    vectors = {}
    for name, file in read_settings(pairs, flag="--vector").items():
        try:
            vectors[name] = np.array(source_array(file))
        except (OSError, ValueError) as error:
            raise OptionError(f"--vector: {file}: expected a .npy array ({error}).") from None
    return vectors


def _table(answer: Answer) -> Table:
    """Return hits by row: fused score, and each provider's rank with the rank without it."""
    from dafm_core.tables.cells import Cell, table

    names = sorted(answer.singles)
    rows = [
        [
            Cell(str(hit.rank), hit.rank),
            Cell(hit.image_id, hit.image_id),
            Cell(f"{hit.score:.3f}", hit.score),
            *(_ranks(hit.opinions[name]) for name in names),
        ]
        for hit in answer.hits
    ]
    return table(
        f"{answer.n_scored} of {answer.n_images} images scored by every provider, "
        f"{1000 * answer.seconds:.0f} ms. Below each provider: its own rank of the hit / the rank "
        "of the hit without it",
        ("rank", "image", "score", *names),
        rows,
        essential=("rank", "image"),
    )


def _ranks(opinion: Opinion) -> Cell:
    from dafm_core.tables.cells import Cell

    shown = ["-" if r is None else f"{r:g}" for r in (opinion.rank, opinion.rank_without)]
    return Cell(" / ".join(shown), math.inf if opinion.rank is None else opinion.rank)
