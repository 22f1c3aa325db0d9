"""What a check is, what it can end in, and how a battery is run and counted.

The checks themselves stand in ``providers.py`` and ``fusers.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from dafm_core.ground.printable import first_line

_Function: TypeAlias = Callable[..., None]
Outcome: TypeAlias = Literal["passed", "failed", "not applicable"]


class CheckFailed(AssertionError):  # noqa: N818 - an outcome, no error
    """A law that does not hold; the message says which, and by how much."""


class NotApplicable(Exception):  # noqa: N818 - an outcome, no error
    """A check that says nothing about this subject; the message says why."""


@dataclass(frozen=True)
class Check:
    """A named law about a provider or a fuser.

    Called with its subject it returns nothing, or raises CheckFailed or NotApplicable.
    """

    name: str
    law: str
    function: _Function = field(repr=False)

    def __call__(self, *subject: Any) -> None:
        """Check the subject."""
        self.function(*subject)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What one check ended in.

    Parameters
    ----------
    name, law : str
    outcome : {"passed", "failed", "not applicable"}
    message : str
        Why it failed or does not apply, on one line.
    """

    name: str
    law: str
    outcome: Outcome
    message: str = ""


class Battery:
    """Checks in the order they were added.

    Parameters
    ----------
    at_least : int
        How many checks have to say something about every subject. Fewer are a failure: a battery
        that was waived check by check, or that lost its checks, has shown nothing.
    """

    def __init__(self, *, at_least: int) -> None:
        self.at_least = at_least
        self.checks: list[Check] = []

    def add(self, law: str) -> Callable[[_Function], _Function]:
        """Return a decorator that adds a function as a check of its own name."""

        def register(function: _Function) -> _Function:
            self.checks.append(Check(function.__name__.lstrip("_"), law, function))
            return function

        return register

    def run(self, *subject: Any) -> list[CheckResult]:
        """Run every check, whatever the earlier ones ended in.

        Where too few of them said something, one more result follows: ``enough_checks``, failed.
        """
        results = [_run_one(check, subject) for check in self.checks]
        n_ran = sum(result.outcome != "not applicable" for result in results)
        if n_ran < self.at_least:
            law = f"At least {self.at_least} checks say something about the subject."
            message = f"{n_ran} of {len(results)} did"
            results.append(
                CheckResult(name="enough_checks", law=law, outcome="failed", message=message)
            )
        return results


def _run_one(check: Check, subject: tuple[Any, ...]) -> CheckResult:
    outcome: Outcome = "passed"
    message = ""
    try:
        check(*subject)
    except NotApplicable as reason:
        outcome, message = "not applicable", str(reason)
    except CheckFailed as failure:
        outcome, message = "failed", str(failure)
    except Exception as error:  # a subject may raise anything
        outcome, message = "failed", f"raised {type(error).__name__}: {first_line(error)}"
    return CheckResult(name=check.name, law=check.law, outcome=outcome, message=message)


def summarize(results: Iterable[CheckResult]) -> str:
    """Return how many checks ran, and what they ended in, as one line.

    Examples
    --------
    >>> passed = CheckResult(name="a", law="A.", outcome="passed")
    >>> summarize([passed, CheckResult(name="b", law="B.", outcome="failed")])
    '2 checks ran: 1 passed, 1 failed; 0 do not apply'
    """
    outcomes = [result.outcome for result in results]
    n_passed, n_failed = outcomes.count("passed"), outcomes.count("failed")
    return (
        f"{n_passed + n_failed} checks ran: {n_passed} passed, {n_failed} failed; "
        f"{outcomes.count('not applicable')} do not apply"
    )
