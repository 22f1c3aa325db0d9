"""``dafm fuse``: fused scores of a store, written for other tools."""

from __future__ import annotations

import argparse
from pathlib import Path

from dafm_core.cli.arguments import add_exact, add_model
from dafm_core.errors import OptionError
from dafm_core.ground.files import read_ids

EXAMPLES = {
    "fuse": "examples:\n"
    "  dafm fuse scores/ --model light/ --out fused.trec --depth 100\n"
    "  dafm fuse test1/ --model light/ --bank bank/ --out fused.npy\n"
    "  dafm fuse scores/ --model light/ --head subset --out subsets.trec   # each query's subset",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the store, the model and what to write."""
    add_model(parser)
    parser.add_argument(
        "--out", required=True, type=Path, help="FILE.npy (all scores), .parquet or .trec (lists)"
    )
    parser.add_argument(
        "--head",
        choices=("gallery", "subset"),
        default="gallery",
        help="what to rank, by the score that was learned for it: the gallery, or each query's "
        "subset, whose members alone are then in a list",
    )
    parser.add_argument("--queries", type=Path, help="only these queries: ids, one a line")
    parser.add_argument(
        "--depth", type=int, default=100, help="candidates per query in a list (default 100)"
    )
    add_exact(parser)


def run(args: argparse.Namespace) -> None:
    """Fuse tile by tile into a file."""
    from dafm_core.cli.models import in_sample, open_model
    from dafm_core.formats.fitted import fitted_path
    from dafm_core.formats.runs import write_run
    from dafm_core.formats.submission import fuser_blocks
    from dafm_core.reporting.saying import say

    fuser, stack = open_model(args.store, args.model, args.bank, verify=args.verify)
    if args.queries:
        stack = stack.take_queries(read_ids(args.queries))
    if args.head == "subset" and not stack.dataset.has_subsets:
        raise OptionError(
            f"dafm fuse --head subset: the queries of {stack.protocol} have no subsets. "
            "Leave --head out."
        )
    is_list = args.out.suffix != ".npy"
    blocks = fuser_blocks(
        fuser,
        stack,
        head=args.head,
        leave_out=is_list,
        depth=max(1, args.depth) if is_list else None,
        exact=args.exact,
    )
    name = args.model.name + (f"-{args.head}" if len(fuser.heads) > 1 else "")
    path = write_run(
        args.out,
        blocks,
        query_ids=stack.query_ids,
        gallery_ids=stack.gallery_ids,
        name=name,
        depth=args.depth,
    )
    by = f"{args.model}, {args.head} head" if len(fuser.heads) > 1 else str(args.model)
    say(f"{path}: {stack.n_queries} queries x {stack.n_gallery} images, fused by {by}")
    if line := in_sample(blocks.fitted_query_ids, stack.query_ids):
        say(f"{line}; their ids are in {fitted_path(path)}")
