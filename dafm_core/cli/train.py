"""``dafm train``: fit a fuser on queries, with targets where it learns from them, and save it."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dafm_core.cli.arguments import (
    add_set,
    add_tune,
    add_verify,
    open_bank,
    open_stack,
    read_choices,
    read_settings,
)
from dafm_core.errors import OptionError

if TYPE_CHECKING:
    from dafm_core.catalog import PluginCatalog
    from dafm_core.fusion.base import Fuser
    from dafm_core.store.stack import SimilarityStack

EXAMPLES = {
    "train": "examples:\n"
    "  dafm train scores/ --fuser light --out light/\n"
    "  dafm train scores/ --fuser light --test-size 0.2 --out light/   # evaluate on the rest\n"
    "  dafm train scores/ --fuser light --gate --out deploy/    # the fallback, if no better\n"
    "  dafm train scores/ --fuser debiased --out debiased/    # needs no targets\n"
    "  dafm train scores/ --queries labelled.txt --bank all.txt --out light/    # few labels\n"
    "  dafm train scores/ --tune network=linear --tune network=residual --out light/\n"
    "  dafm train scores/ --fuser weighted --window 100 --out window/    # for an engine",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the store, the fuser, which queries to fit on, and the gate."""
    parser.add_argument(
        "store", metavar="STORE", type=Path, help="store of queries, with targets if it learns"
    )
    parser.add_argument("--fuser", default="light", help="name (see dafm fusers); default light")
    parser.add_argument("--out", required=True, type=Path, help="folder for the fitted fuser")
    add_set(parser, "fuser")
    add_tune(parser, "KEY=VALUE")
    parser.add_argument(
        "--bank",
        type=Path,
        help="unlabelled queries for the query bank: a store, or ids of this store, one a line",
    )
    parser.add_argument("--providers", help="only these providers, separated by commas")
    parser.add_argument("--queries", type=Path, help="fit on these only: ids, one a line")
    parser.add_argument(
        "--test-size", type=float, help="hold out this share of the groups, and evaluate on it"
    )
    parser.add_argument(
        "--gate",
        action="store_true",
        help="cross-fit on the training queries first; save what the verdict says, and why",
    )
    parser.add_argument("--folds", type=int, default=5, help="of the gate (default 5)")
    parser.add_argument(
        "--window",
        type=int,
        metavar="M",
        help="weights for an engine that re-scores every model's first M hits: learned on those, "
        "printed as a formula, and measured against whole rows (--fuser weighted)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the held-out part and the folds")
    add_verify(parser)


def run(args: argparse.Namespace) -> None:
    """Fit, save, and compare on what was held out."""
    from dafm_core.catalog import PluginCatalog
    from dafm_core.reporting.saying import print_notes, say
    from dafm_core.reporting.terminal import progress_bars

    stack = open_stack(
        args.store, providers=args.providers, queries=args.queries, verify=args.verify
    )
    print_notes(stack.dataset.problems())
    bank = open_bank(args.bank, args.store, providers=args.providers, verify=args.verify)
    held_out = None
    if args.test_size is not None:
        stack, held_out = stack.split(test_size=args.test_size, seed=args.seed)
    catalog = PluginCatalog.discover()
    name, fuser, reason = args.fuser, _load(args, catalog), None
    if args.gate:
        name, fuser, reason = _gate(args, stack, bank, catalog, fuser)
    if args.window is not None:
        fuser = _fit_on_windows(args, stack)
    else:
        with progress_bars() as progress:
            fuser.fit(stack, bank=bank, progress=progress)
    _save(fuser, args.out, reason)
    say(f"{args.out}: {name} fitted on {stack.n_queries} queries of {stack.protocol}")
    if held_out is not None:
        _report(args, {name: fuser}, stack, held_out, bank, catalog)


def _fit_on_windows(args: argparse.Namespace, stack: SimilarityStack) -> Fuser:
    """Return weights fitted on windows, and print them and what is lost."""
    from dafm_core.evaluation.windows import fit_on_windows, window_loss, windowed
    from dafm_core.fusion.static import WeightedFusion
    from dafm_core.metrics.spec import metric_label
    from dafm_core.reporting.saying import say

    if args.fuser != "weighted" or args.gate or args.set or args.tune or args.bank:
        raise OptionError(
            "--window: expected --fuser weighted alone: an engine's formula is a weighted sum. "
            "Leave out --gate, --set, --tune and --bank."
        )
    fuser = WeightedFusion(normalize="zscore")
    lost = window_loss(fuser, stack, args.window, n_folds=args.folds, seed=args.seed)
    fit_on_windows(fuser, windowed(stack, args.window))
    terms = (f"{w:.4f} * z({n})" for n, w in zip(stack.names, fuser.weights_, strict=True) if w)
    say(f"score = {' + '.join(terms)}")
    say("z(model): its score less its mean over the window, over its standard deviation there")
    for metric, (whole, few) in lost.items():
        say(f"{metric_label(metric)}: {100 * whole:.2f} by whole rows, {100 * few:.2f} by windows")
    return fuser


def _save(fuser: Fuser, out: Path, gate: dict[str, str] | None) -> None:
    """Write the fitted fuser, then why it is this one; what was said of another goes before."""
    from dafm_core.fusion.saving import save_fuser
    from dafm_core.ground.files import write_json
    from dafm_core.reporting.saying import say

    selection, reason = out / "selection.json", out / "gate.json"
    for said in (selection, reason):
        said.unlink(missing_ok=True)
    save_fuser(fuser, out)
    if fuser.choice_ is not None:
        write_json(selection, fuser.choice_)
        say(f"chosen by cross-fitting within the training queries: {fuser.choice_['chosen']}")
    if gate is not None:
        write_json(reason, gate)
        say(gate["reason"])


def _report(
    args: argparse.Namespace,
    fitted: dict[str, Fuser],
    stack: SimilarityStack,
    held_out: SimilarityStack,
    bank: SimilarityStack | None,
    catalog: PluginCatalog,
) -> None:
    """Print the comparison on the held-out queries, with static rules fitted as the fuser was."""
    from dafm_core.comparison.compare import compare
    from dafm_core.evaluation.design import Part, leakage
    from dafm_core.evaluation.trials import TrialLog
    from dafm_core.reporting.summaries import print_comparison

    rules = {name: rule.fit(stack, bank=bank) for name, rule in _rules(catalog).items()}
    found = compare(held_out, rules | fitted, trials=TrialLog(args.store), seed=args.seed)
    audits = replace(found.audits, leakage=leakage([Part(stack, held_out)]))
    print_comparison(replace(found, audits=audits))


def _rules(catalog: PluginCatalog) -> dict[str, Fuser]:
    """Return the static rules, unfitted: what a learned fusion has to beat."""
    names = [name for name, info in catalog.fusers.items() if info.kind != "learned"]
    return {name: catalog.load_fuser(name) for name in names}


def _load(args: argparse.Namespace, catalog: PluginCatalog) -> Fuser:
    """Return the fuser asked for, unfitted; one that chooses among several, with --tune."""
    from dafm_core.evaluation.tuning import SelectedFusion, candidates

    fixed, varied = read_settings(args.set), read_choices(args.tune)
    make = partial(catalog.load_fuser, args.fuser)
    return SelectedFusion(candidates=candidates(make, fixed, varied)) if varied else make(fixed)


def _gate(
    args: argparse.Namespace,
    stack: SimilarityStack,
    bank: SimilarityStack | None,
    catalog: PluginCatalog,
    fuser: Fuser,
) -> tuple[str, Fuser, dict[str, str]]:
    """Return what the verdict of a cross-fitted comparison says to deploy, and why."""
    from dafm_core.comparison.compare import compare
    from dafm_core.evaluation.design import Folds
    from dafm_core.evaluation.trials import TrialLog
    from dafm_core.fusion.static import BestSingle
    from dafm_core.reporting.terminal import progress_bars

    if fuser.kind != "learned":
        raise OptionError(f"--gate: {args.fuser!r} is {fuser.kind}; the gate judges learned ones.")
    rules = _rules(catalog)
    fusers = rules | {args.fuser: fuser}
    with progress_bars() as progress:
        found = compare(
            stack,
            fusers,
            design=Folds(args.folds, seed=args.seed),
            bank=bank,
            seed=args.seed,
            trials=TrialLog(args.store),
            progress=progress,
        ).verdict
    if found.action == "stay":
        return "best-single", BestSingle(), asdict(found)
    return (
        found.name,
        rules.get(found.name, fuser),
        asdict(found),
    )
