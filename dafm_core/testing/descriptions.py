"""What every description must hold to: its options are those of the factory that it names.

A description is written by hand beside a factory that changes; nothing else notices when the two
part. What the factory returns is checked in ``providers.py`` and ``fusers.py``.
"""

from __future__ import annotations

import inspect
from typing import TypeAlias

from dafm_core.catalog import resolve
from dafm_core.contract.descriptions import DatasetInfo, FuserInfo, ProviderInfo
from dafm_core.contract.options import Options
from dafm_core.metrics.spec import parse_metric
from dafm_core.testing.results import Battery, Check, CheckFailed, CheckResult, NotApplicable

Info: TypeAlias = ProviderInfo | FuserInfo | DatasetInfo

_battery = Battery(at_least=4)
_POSITIONS = ("path", "split")
"""What core passes to a dataset's factory besides the options."""


def description_checks() -> tuple[Check, ...]:
    """Return every check; each is called with a ProviderInfo, FuserInfo or DatasetInfo."""
    return tuple(_battery.checks)


def check_description(info: Info) -> list[CheckResult]:
    """Run every check on a description; imports the factory it names, and does not call it.

    Parameters
    ----------
    info : ProviderInfo, FuserInfo or DatasetInfo

    Returns
    -------
    list of CheckResult
        One per check, in a fixed order; ``summarize`` counts them.
    """
    return _battery.run(info)


def _options_type(info: Info) -> type[Options] | None:
    """Return the options whose fields the factory takes as ``**options``, if it says so."""
    factory = resolve(info.factory, where=info.name)
    options: type[Options] | None = getattr(factory, "options_type", None)
    return options


def _parameters(info: Info) -> dict[str, inspect.Parameter]:
    """Return the factory's parameters by name, less those that are no options."""
    factory = resolve(info.factory, where=info.name)
    parameters = dict(inspect.signature(factory).parameters)
    if (options := _options_type(info)) is not None:
        parameters = {n: p for n, p in parameters.items() if p.kind is not p.VAR_KEYWORD}
        for option in options.described():
            parameters[option.name] = inspect.Parameter(
                option.name, inspect.Parameter.KEYWORD_ONLY, default=option.default
            )
    if isinstance(info, DatasetInfo):
        for name in _POSITIONS:
            parameters.pop(name, None)
    return parameters


@_battery.add("Everything that a listing prints is there, on one line.")
def _one_line(info: Info) -> None:
    texts = {"summary": info.summary}
    texts |= {f"summary of option {option.name!r}": option.summary for option in info.options}
    for what, text in texts.items():
        if not text.strip() or "\n" in text:
            raise CheckFailed(f"expected one line as the {what}, got {text!r}")


@_battery.add("What is reported is in percent, of metrics that are known by these names.")
def _reported_can_be_measured(info: Info) -> None:
    reported = getattr(info, "reported", {})
    if not reported:
        raise NotApplicable("nothing is reported")
    for protocol, values in reported.items():
        for metric, value in values.items():
            if parse_metric(metric).name != metric:
                raise CheckFailed(f"{protocol}: {metric!r} is written {parse_metric(metric).name}")
            if not 0 <= value <= 100:
                raise CheckFailed(f"{protocol}: {metric} of {value} is no percentage")


@_battery.add("Every option is a keyword of the factory.")
def _options_are_keywords(info: Info) -> None:
    parameters = _parameters(info)
    keywords = {
        name
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    }
    unknown = [option.name for option in info.options if option.name not in keywords]
    if unknown:
        raise CheckFailed(f"the factory states no keyword {', '.join(unknown)}")


@_battery.add("Every keyword of the factory is described as an option.")
def _keywords_are_described(info: Info) -> None:
    if isinstance(info, FuserInfo) and _options_type(info) is None:
        raise NotApplicable("a fuser may take what is set from Python alone")
    described = {option.name for option in info.options}
    hidden = [str(p) for name, p in _parameters(info).items() if name not in described]
    if hidden:
        raise CheckFailed(f"not described, so --set cannot reach it: {', '.join(hidden)}")


@_battery.add("An option that may be left out has a default, and the factory has no other one.")
def _defaults_agree(info: Info) -> None:
    parameters = _parameters(info)
    for option in info.options:
        if option.name not in parameters:
            continue  # said by options_are_keywords
        default = parameters[option.name].default
        has_none = default is inspect.Parameter.empty
        if has_none and not option.required and option.default is None:
            raise CheckFailed(
                f"option {option.name!r}: described as not required, but neither the description "
                "nor the factory has a default"
            )
        if not has_none and option.default is not None and option.default != default:
            raise CheckFailed(
                f"option {option.name!r}: default {option.default!r} is described, the factory "
                f"has {default!r}"
            )


@_battery.add("A default may be given as --set gives it: of the option's kind and choices.")
def _defaults_can_be_set(info: Info) -> None:
    for option in info.options:
        if option.default is None:
            continue
        parsed = option.parse(str(option.default), where=info.name)
        if str(parsed) != str(option.default) or isinstance(option.default, bool) != (
            option.kind == "bool"
        ):
            raise CheckFailed(
                f"option {option.name!r} of kind {option.kind}: --set {option.name}="
                f"{option.default} would give {parsed!r}"
            )
