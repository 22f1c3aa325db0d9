"""``dafm index``: a gallery index for live queries, built, grown or cut."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dafm_core.cli.arguments import add_split, add_timeout, read_settings
from dafm_core.cli.watching import watch_models
from dafm_core.errors import OptionError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dafm_core.catalog import PluginCatalog
    from dafm_core.datasets.base import Dataset
    from dafm_core.fusion.base import Fuser
    from dafm_core.ground.ids import Ids
    from dafm_core.search.offers import Offer
    from dafm_core.search.sources import Images

EXAMPLES = {
    "index": "examples:\n"
    "  dafm index photos/ --provider sprc --set sprc.checkpoint=sprc.pt --out index/\n"
    "  dafm index photos/ --model light/ --bank folder:queries/ --out index/\n"
    "  dafm index new-photos/ --add --out index/\n"
    "  dafm index share-2.index/ --add --out index/    # encoded on another machine\n"
    "  dafm index ids.txt --remove --out index/\n"
    "  dafm index --engine ivf --out index/\n\n"
    "Interrupted? Repeat the command: it goes on where it stopped.",
}


OF_IMAGES: Final = ("split", "dataset_set", "columns", "on_missing", "features", "set", "timeout")
OF_BUILDING: Final = ("provider", "model", "bank", "dtype")
"""Options that say what is encoded, and options that are fixed once an index is there."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is indexed, by whom, and for which fusion."""
    parser.add_argument(
        "images",
        metavar="IMAGES",
        nargs="?",
        help="a folder of images, another index, or a dataset as NAME:PATH; with --remove a file "
        "of ids, or an id; left out with --engine, for the images that are there",
    )
    add_split(parser)
    parser.add_argument("--out", required=True, type=Path, help="folder of the index")
    change = parser.add_mutually_exclusive_group()
    change.add_argument("--add", action="store_true", help="add images to the index that is there")
    change.add_argument("--remove", action="store_true", help="remove images from it, for good")
    parser.add_argument(
        "--provider",
        action="append",
        default=[],
        metavar="NAME[=MODEL]",
        help="a model, perhaps under a name of its own; repeatable. By default the models that "
        "--model was fitted on",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME.KEY=VALUE",
        help="an option of a provider; repeatable",
    )
    parser.add_argument(
        "--features",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="features of the images made elsewhere (npy, npz, pt, safetensors); repeatable",
    )
    parser.add_argument(
        "--measure", choices=["cosine", "dot"], default="cosine", help="of --features"
    )
    parser.add_argument(
        "--model", type=Path, help="the fuser that will answer: checked before anything is encoded"
    )
    parser.add_argument(
        "--bank",
        metavar="QUERIES",
        help="queries without labels for the column statistics of this gallery: a store or a "
        "dataset as NAME:PATH; none. By default those of the dataset that --model was trained on",
    )
    parser.add_argument(
        "--engine",
        choices=["ivf", "scan8", "scan16"],
        help="also make an engine that finds near images without looking at all (extra [faiss]): "
        "inverted lists, or scans of 8-bit or half-precision vectors",
    )
    parser.add_argument(
        "--columns", type=Path, help="table (csv, jsonl, parquet) with image_id, to filter by"
    )
    parser.add_argument("--dtype", default="float32", help="float32 (default) or float16 features")
    parser.add_argument(
        "--on-missing",
        choices=["error", "skip"],
        default="error",
        help="what a missing or broken image does: skip leaves it out (default error)",
    )
    add_timeout(parser)


def run(args: argparse.Namespace) -> None:
    """Build, add or remove, with progress on standard error."""
    _check_options(args)
    watch_models("dafm index", seconds=args.timeout)
    from dafm_core.catalog import PluginCatalog
    from dafm_core.reporting.saying import say
    from dafm_core.reporting.terminal import progress_bars
    from dafm_core.search.building import add_images, build_index, remove_images, writing_index
    from dafm_core.search.engine_making import build_engine, check_geometry, check_kind
    from dafm_core.search.index import GalleryIndex

    if args.engine:
        check_kind(args.engine)
    catalog = PluginCatalog.discover()
    with progress_bars() as progress:
        if args.images is None:
            index = GalleryIndex.open(args.out)
        elif args.remove:
            index = remove_images(args.out, _ids(args.images), catalog=catalog, progress=progress)
        elif args.add:
            index = add_images(
                args.out,
                _images(args, catalog),
                providers=_given(args) | read_provider_settings(args.set),
                on_missing=args.on_missing,
                catalog=catalog,
                progress=progress,
            )
        else:
            fuser = _fuser(args)
            offers = _offers(args, catalog, fuser)
            if args.engine:  # before hours of encoding
                check_geometry({name: offer.geometry for name, offer in offers.items()})
            index = build_index(
                args.out,
                _images(args, catalog),
                offers,
                fuser=None if args.bank == "none" else fuser,
                bank=_bank(args, catalog),
                dtype=args.dtype,
                on_missing=args.on_missing,
                catalog=catalog,
                progress=progress,
            )
        if args.engine:
            with writing_index(args.out):
                engines = build_engine(GalleryIndex.open(args.out), args.engine, progress)
    bank = index.manifest.bank
    queries = f"a bank of {bank['queries']} queries" if bank else "no query bank"
    say(f"{index.path}: {index.n_images} images, {', '.join(index.names)}, {queries}")
    if args.engine:
        share = min(one.recall for one in engines.values())
        say(f"engine {args.engine}: found {share:.3f} of the first 50 images")
    for note in index.manifest.notes:
        say(f"note: {note}")


def _check_options(args: argparse.Namespace) -> None:
    """Raise OptionError for what is missing, and for options that the action would not look at."""
    if args.images is None and not args.engine:
        raise OptionError("dafm index: expected IMAGES, or --engine for those that are there.")
    action: str
    unused: tuple[str, ...]
    if args.images is None:
        action, unused = "--engine without IMAGES", ("add", "remove", *OF_IMAGES, *OF_BUILDING)
    elif args.remove:
        action, unused = "--remove", (*OF_IMAGES, *OF_BUILDING)
    else:
        action, unused = "--add", OF_BUILDING if args.add else ()
    defaults = {"on_missing": "error", "dtype": "float32"}
    for name in unused:
        if getattr(args, name) and getattr(args, name) != defaults.get(name):
            option = name.replace("_", "-")
            raise OptionError(f"dafm index {action}: has no use for --{option}. Leave it out.")


def read_provider_settings(pairs: list[str]) -> dict[str, Any]:
    """Return NAME.KEY=VALUE pairs as options by provider.

    Raises
    ------
    OptionError
        For anything else.
    """
    settings: dict[str, Any] = {}
    for key, value in read_settings(pairs).items():
        name, dot, option = key.partition(".")
        if not dot or not option:
            raise OptionError(f"--set: expected NAME.KEY=VALUE, got {key + '=' + value!r}.")
        settings.setdefault(name, {})[option] = value
    return settings


def _ids(spec: str) -> tuple[str, ...]:
    from dafm_core.ground.files import read_ids

    return read_ids(spec) if Path(spec).is_file() else (spec,)


def _images(args: argparse.Namespace, catalog: PluginCatalog) -> Images:
    from dafm_core.search.sources import Images, read_columns

    options = read_settings(args.dataset_set, flag="--dataset-set")
    images = Images.open(args.images, split=args.split, options=options, catalog=catalog)
    if args.columns is not None:
        images = images.with_columns(read_columns(args.columns), where=str(args.columns))
    return images


def _fuser(args: argparse.Namespace) -> Fuser | None:
    from dafm_core.fusion.saving import load_fuser

    return None if args.model is None else load_fuser(args.model)


def _offers(
    args: argparse.Namespace, catalog: PluginCatalog, fuser: Fuser | None
) -> dict[str, Offer]:
    from dafm_core.search.offers import Offer

    offers = _given(args)
    asked = dict(_named(spec) for spec in args.provider)
    if not asked and fuser is not None:
        asked = {name: name for name in fuser.record_.providers if name not in offers}
    settings = read_provider_settings(args.set)
    for name in settings:
        if name not in asked:
            raise OptionError(f"--set: {name!r} is none of the providers {', '.join(asked)}.")
    for name, model in asked.items():
        if name in offers:
            raise OptionError(f"--provider: {name!r} is given twice.")
        offers[name] = Offer.named(catalog, model, settings.get(name, {}), name)
    if not offers:
        raise OptionError("dafm index: expected --provider, --features or --model, got none.")
    return offers


def _named(spec: str) -> tuple[str, str]:
    name, equals, model = spec.partition("=")
    return name, model if equals else name


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """Return providers whose features were made elsewhere."""
    from dafm_core.search.offers import Offer

    return {
        name: Offer(
            provider=None,
            facts={"fingerprint": {}, "code": {}, "options": {"measure": args.measure}},
            references="any",
            features=_reader(Path(file), unit=args.measure == "cosine"),
        )
        for name, file in read_settings(args.features, flag="--features").items()
    }


def _reader(file: Path, *, unit: bool) -> Callable[[Ids], NDArray[np.float32]]:
    def read(ids: Ids) -> NDArray[np.float32]:
        from dafm_core.formats.importing import features_of

        return features_of(file, ids, unit=unit)

    return read


def _bank(args: argparse.Namespace, catalog: PluginCatalog) -> Dataset | None:
    from dafm_core.store.store import SimilarityStore

    if args.bank is None or args.bank == "none":
        return None
    if (Path(args.bank) / "store.json").exists():
        return SimilarityStore.open(args.bank).dataset
    return catalog.load_dataset(args.bank)
