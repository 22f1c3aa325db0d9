"""``dafm import``: a matrix, a run or features made elsewhere become a provider of a store."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dafm_core.cli.arguments import add_split, read_settings
from dafm_core.cli.watching import watch_models
from dafm_core.errors import OptionError

if TYPE_CHECKING:
    from dafm_core.formats.storing import Imported
    from dafm_core.store.store import SimilarityStore

EXAMPLES = {
    "import": "examples:\n"
    "  dafm import ccin.npy --provider ccin --store scores/ --fact model=CCIN\n"
    "  dafm import queries.npy --gallery-features gallery.npy --provider ccin --store scores/\n"
    "  dafm import recall.json --provider ccin --store scores/ --dataset cirr:data/cirr\n"
    "  dafm import recall.json --provider ccin --store scores/ --subset-file recall_subset.json",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add FILE, what it holds and where it goes."""
    parser.add_argument(
        "file",
        metavar="FILE",
        type=Path,
        help=".npy .npz .pt .safetensors, a table (.parquet .csv .tsv), a TREC run (.trec .run"
        " .txt), scores or a CIRR or CIRCO submission (.json); text also as .gz",
    )
    parser.add_argument("--provider", required=True, help="name it gets in the store")
    parser.add_argument("--store", required=True, type=Path, help="folder of the similarity store")
    parser.add_argument("--dataset", help="NAME:PATH, to make the store if there is none")
    add_split(parser, "--dataset")
    parser.add_argument(
        "--subset-file",
        type=Path,
        help="the model's own ranking of each query's subset (CIRR's recall_subset.json): decides"
        " its Rs@K",
    )
    parser.add_argument("--key", help="which array, where the file holds several")
    parser.add_argument("--query-ids", type=Path, help="ids of the rows: text, JSON or npy")
    parser.add_argument("--gallery-ids", type=Path, help="ids of the columns: text, JSON or npy")
    parser.add_argument(
        "--ids",
        metavar="RULE",
        help="how the file's ids differ: basename, decimal, extension, zeros, case, joined by +",
    )
    parser.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="NAME",
        help="a member of the file that does not say the order of rows or columns; repeatable",
    )
    parser.add_argument(
        "--order",
        choices=["score", "rank"],
        help="what decides in lists whose ranks contradict their scores",
    )
    parser.add_argument(
        "--direction", choices=["similarity", "distance"], help="distances are negated"
    )
    parser.add_argument(
        "--gallery-features",
        type=Path,
        help="FILE holds query features, this the gallery's: scores are their products",
    )
    parser.add_argument("--gallery-key", help="which array of --gallery-features")
    parser.add_argument("--measure", choices=["cosine", "dot"], help="of features (default cosine)")
    parser.add_argument(
        "--fact",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="what else is known, for the passport, e.g. checkpoint=SHA256; repeatable",
    )
    parser.add_argument("--dtype", default="float32", help="float32 (default) or float16 scores")
    parser.add_argument("--overwrite", action="store_true", help="replace a matrix of that name")


def run(args: argparse.Namespace) -> None:
    """Import, and say what is in the store now."""
    watch_models(f"import of {args.file}")  # a library that reads it may end the process
    from dafm_core.catalog import PluginCatalog
    from dafm_core.formats.importing import import_subset_file, read_subset_file
    from dafm_core.reporting.saying import print_notes
    from dafm_core.store.store import SimilarityStore

    with ExitStack() as exits:
        if args.dataset:
            options = read_settings(args.dataset_set, flag="--dataset-set")
            catalog = PluginCatalog.discover()
            dataset = catalog.load_dataset(args.dataset, split=args.split, options=options)
            store = exits.enter_context(SimilarityStore.filling(args.store, dataset))
        else:
            if not args.store.exists():
                raise OptionError(
                    f"{args.store}: there is no such store yet. Say which queries and images the "
                    "scores are of, and it is made: --dataset NAME:PATH, of your own folder:PATH."
                )
            store = SimilarityStore.open(args.store)
        if args.subset_file:
            read_subset_file(store, args.subset_file)  # before anything is written
        result = _import(args, store)
        if args.subset_file:
            import_subset_file(store, args.provider, args.subset_file)
    print_notes(store.dataset.problems())
    passport = store.passport(args.provider)
    depth = passport.get("truncated_at")
    note = f", lists of {depth}: the rest is below them" if depth else ""
    done = "imported" if result.written else "nothing to do, it has the scores of"
    print(f"{store.path}: {args.provider}: {done} {args.file.name}{note}")
    order = passport["options"].get("order")
    lines = [f"ordered by {order}"] if order else []
    for line in lines + result.notes():
        print(f"  {line}")


def _import(args: argparse.Namespace, store: SimilarityStore) -> Imported:
    from dafm_core.formats.importing import import_features, import_scores

    shared: dict[str, Any] = {
        "facts": read_settings(args.fact, flag="--fact"),
        "dtype": args.dtype,
        "overwrite": args.overwrite,
        "query_ids": args.query_ids,
        "gallery_ids": args.gallery_ids,
        "rule": args.ids,
        "ignore": args.ignore,
    }
    if args.gallery_features:
        for option in ("direction", "order"):
            if getattr(args, option):
                raise OptionError(
                    f"dafm import: --{option} is for scores; features have --measure."
                )
        return import_features(
            store,
            args.provider,
            args.file,
            args.gallery_features,
            measure=args.measure or "cosine",
            query_key=args.key,
            gallery_key=args.gallery_key,
            **shared,
        )
    if args.measure or args.gallery_key:
        raise OptionError("dafm import: --measure and --gallery-key need --gallery-features.")
    direction: Any = args.direction or "similarity"
    return import_scores(
        store,
        args.provider,
        args.file,
        key=args.key,
        direction=direction,
        order=args.order,
        **shared,
    )
