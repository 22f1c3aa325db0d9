"""Whether a provider reaches what its description reports, measured on the rows of a store."""

from __future__ import annotations

from typing import Final

from dafm_core.contract.descriptions import ProviderInfo
from dafm_core.errors import DafmError
from dafm_core.evaluation.evaluate import evaluate_providers
from dafm_core.metrics.spec import metric_label
from dafm_core.store.stack import SimilarityStack
from dafm_core.testing.results import Battery, CheckFailed, CheckResult, NotApplicable

TOLERANCE: Final = 0.1
"""Points of percent: another machine's last bits move a query or two, and no more."""

_battery = Battery(at_least=0)


def check_recall(
    info: ProviderInfo, stack: SimilarityStack, *, tolerance: float = TOLERANCE
) -> list[CheckResult]:
    """Compare what a provider's rows reach with what its description reports for the protocol.

    Parameters
    ----------
    info : ProviderInfo
    stack : SimilarityStack
        All queries of the protocol, scored by this provider alone.
    tolerance : float, default=0.1
        In points of percent.
    """
    return _battery.run(info, stack, tolerance)


@_battery.add("On a dataset that the description reports numbers for, the provider reaches them.")
def _declared_recall(info: ProviderInfo, stack: SimilarityStack, tolerance: float) -> None:
    reported = info.reported.get(stack.protocol)
    if not reported:
        known = ", ".join(info.reported) or "none"
        raise NotApplicable(f"nothing is reported for {stack.protocol} (reported: {known})")
    try:
        (found,) = evaluate_providers(stack, metrics=list(reported)).values()
    except DafmError as error:
        raise CheckFailed(f"cannot be measured: {error}") from error
    wrong = [
        f"{metric_label(metric)} is {100 * found.values[metric]:.2f}, reported {value:.2f}"
        for metric, value in reported.items()
        if not abs(100 * found.values[metric] - value) <= tolerance
    ]
    if wrong:
        raise CheckFailed(f"{stack.protocol}, {stack.n_queries} queries: {'; '.join(wrong)}")
