"""Arguments that several commands share, and how their values are read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dafm_core.errors import OptionError, closest

if TYPE_CHECKING:
    from dafm_core.store.stack import SimilarityStack


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """Add DATASET, --split and --dataset-set."""
    parser.add_argument(
        "dataset", metavar="DATASET", help="NAME:PATH, e.g. cirr:data/cirr; or scenes (embedded)"
    )
    add_split(parser)


def add_split(parser: argparse.ArgumentParser, dataset: str = "the dataset") -> None:
    """Add --split and --dataset-set, for a dataset that the command names in its own way."""
    parser.add_argument("--split", help=f"split of {dataset}; its first by default")
    parser.add_argument(
        "--dataset-set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"an option of {dataset} (dafm datasets lists them); repeatable",
    )


def add_set(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --set KEY=VALUE."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"an option of the {what}; repeatable",
    )


def add_timeout(parser: argparse.ArgumentParser) -> None:
    """Add --timeout, for commands that are watched."""
    parser.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="end the command, in one line, if a call of a model takes longer (a block of queries "
        "or images; loading it; under Ray the wait for the next block); no limit by default",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add --json, for machines."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def read_settings(pairs: list[str], *, flag: str = "--set") -> dict[str, str]:
    """Return KEY=VALUE pairs as a dict; raise OptionError for anything else."""
    settings: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise OptionError(f"{flag}: expected KEY=VALUE, got {pair!r}.")
        if key in settings:
            raise OptionError(f"{flag}: {key!r} is given twice.")
        settings[key] = value
    return settings


def add_tune(parser: argparse.ArgumentParser, metavar: str) -> None:
    """Add --tune, for nested selection."""
    parser.add_argument(
        "--tune",
        action="append",
        default=[],
        metavar=metavar,
        help="a value to try for an option; repeat it for more values and options. The best is "
        "chosen by cross-fitting within the training queries",
    )


def read_choices(pairs: list[str], *, flag: str = "--tune") -> dict[str, list[str]]:
    """Return the values to try by option; raise OptionError unless KEY=VALUE, each once."""
    choices: dict[str, list[str]] = {}
    for pair in pairs:
        ((key, value),) = read_settings([pair], flag=flag).items()
        if value in choices.setdefault(key, []):
            raise OptionError(f"{flag}: {pair!r} is given twice.")
        choices[key].append(value)
    return choices


def read_names(text: str | None) -> list[str] | None:
    """Return comma-separated names, or None where the option was not given."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise OptionError(f"expected names separated by commas, got {text!r}.")
    return names


def add_saved_or_named(parser: argparse.ArgumentParser) -> None:
    """Add --model: a saved fuser, or one by its name."""
    parser.add_argument(
        "--model",
        required=True,
        type=Path,
        help="a fuser that dafm train saved, or the name of one that needs no fit, e.g. mean",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add STORE, --model and --bank."""
    parser.add_argument("store", metavar="STORE", type=Path, help="folder of the similarity store")
    add_saved_or_named(parser)
    parser.add_argument(
        "--bank",
        type=Path,
        help="other queries against this gallery, for the query bank: a store, or ids of this "
        "store, one a line",
    )
    add_verify(parser)


def add_exact(parser: argparse.ArgumentParser) -> None:
    """Add --exact."""
    parser.add_argument(
        "--exact",
        action="store_true",
        help="fuse every candidate of the gallery, not only those that some model puts first: "
        "slower, and the lists are the same but for a place in some thousand",
    )


def add_verify(parser: argparse.ArgumentParser, what: str = "store") -> None:
    """Add --no-verify."""
    parser.add_argument(
        "--no-verify",
        dest="verify",
        action="store_false",
        help=f"do not check the {what} against its checksums; what matched once is not checked "
        "again",
    )


def open_stack(
    store: Path,
    *,
    providers: str | None = None,
    queries: Path | None = None,
    verify: bool = True,
) -> SimilarityStack:
    """Return the stack of a store: of some providers, and of the queries that a file lists."""
    from dafm_core.ground.files import read_ids
    from dafm_core.store.store import SimilarityStore

    stack = SimilarityStore.open(store).stack(read_names(providers), verify=verify)
    return stack.take_queries(read_ids(queries)) if queries else stack


def open_bank(
    bank: Path | None, store: Path, *, providers: str | None = None, verify: bool = True
) -> SimilarityStack | None:
    """Return the stack of a query bank: another store's, or the queries of the same store that a
    file lists; None where none was given.
    """
    if bank is None:
        return None
    if bank.is_dir() or not bank.exists():
        return open_stack(bank, providers=providers, verify=verify)
    return open_stack(store, providers=providers, queries=bank, verify=verify)


def add_labels(parser: argparse.ArgumentParser) -> None:
    """Add --label, what tables call a provider or a fuser."""
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="NAME=LABEL",
        help='what tables call a model or a fuser, e.g. clip4cir="CLIP4CIR"; kept with the store; '
        "NAME= takes it back; repeatable",
    )


def read_labels(args: argparse.Namespace, store: Path) -> dict[str, str]:
    """Return the labels kept with a store, with those just given, which are kept from now on."""
    from dafm_core.catalog import PluginCatalog
    from dafm_core.store.labels import keep_labels, kept_labels
    from dafm_core.store.store import SimilarityStore

    given = read_settings(args.label, flag="--label")
    if not given:
        return kept_labels(store)
    known = [*SimilarityStore.open(store).providers, *PluginCatalog.discover().fusers]
    for name in given:
        if name not in known:
            raise OptionError(f"--label: no model or fuser {name!r}{closest(name, known)}")
    return keep_labels(store, given)


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add how many processes share the work."""
    parser.add_argument(
        "--workers",
        type=int,
        help="processes that share the work, for the same numbers (as many as there are cores "
        "where the store is large)",
    )


def workers_of(args: argparse.Namespace, stack: SimilarityStack, n_parts: int) -> int:
    """Return how many processes share the work."""
    from dafm_core.evaluation.workers import n_workers_for

    if args.workers is None:
        return n_workers_for(stack, n_parts)
    if args.workers < 1:
        raise OptionError(f"--workers: expected at least 1, got {args.workers}.")
    return int(args.workers)
