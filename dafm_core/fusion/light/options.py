"""LightFusion's options and their values in each preset."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal, TypeAlias

from dafm_core.errors import OptionError, closest
from dafm_core.fusion.channels.inputs import DEFAULT_INPUTS, parse_families
from dafm_core.fusion.light.temperature import RULES, TemperatureRule

Preset: TypeAlias = Literal["default", "paper"]
Objective: TypeAlias = Literal["gallery", "subset", "weighted"]

CHOICES: Final = {
    "network": ("residual", "linear", "paper"),
    "objective": ("weighted", "gallery", "subset"),
    "candidates": ("sampled", "exact"),
    "gallery_order": ("shuffled", "file"),
    "temperature_rule": RULES,
}
AT_LEAST: Final = {
    "subset_weight": 0.0,
    "n_hard": 1,
    "n_uniform": 1,
    "n_hidden": 1,
    "n_seeds": 1,
    "n_epochs": 0,
    "batch_size": 1,
    "weight_decay": 0.0,
    "provider_dropout": 0.0,
}


@dataclass(frozen=True, kw_only=True)
class LightOptions:
    """Every choice LightFusion makes; see there."""

    network: Literal["residual", "linear", "paper"] = "residual"
    inputs: str = DEFAULT_INPUTS
    objective: Objective = "weighted"
    subset_weight: float = 0.3
    candidates: Literal["sampled", "exact"] = "sampled"
    n_hard: int = 30
    n_uniform: int = 64
    n_hidden: int = 32
    n_seeds: int = 5
    n_epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    temperature: float = 1.0
    temperature_rule: TemperatureRule = "fixed"
    temperature_scale: float = 100.0
    provider_dropout: float = 0.1
    gallery_order: Literal["shuffled", "file"] = "shuffled"

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise OptionError(f"LightFusion: no {name} {value!r}{closest(value, choices)}")
        for name, least in AT_LEAST.items():
            if not getattr(self, name) >= least:
                raise OptionError(
                    f"LightFusion: expected {name} >= {least}, got {getattr(self, name)}."
                )
        if not (self.learning_rate > 0 and self.temperature > 0 and self.temperature_scale > 0):
            raise OptionError(
                "LightFusion: expected learning_rate, temperature and temperature_scale > 0, got "
                f"{self.learning_rate}, {self.temperature} and {self.temperature_scale}."
            )
        parse_families(self.inputs, where="LightFusion")

    @property
    def families(self) -> tuple[str, ...]:
        """The channel families."""
        return parse_families(self.inputs, where="LightFusion")

    @property
    def loss_weights(self) -> tuple[float, float]:
        """Weights of the loss over the gallery and over the subset."""
        return {
            "gallery": (1.0, 0.0),
            "subset": (0.0, 1.0),
            "weighted": (1.0, self.subset_weight),
        }[self.objective]


PRESETS: Final[dict[str, LightOptions]] = {
    "default": LightOptions(),
    "paper": LightOptions(
        network="paper",
        inputs="minmax",
        objective="gallery",
        candidates="exact",
        n_hidden=16,
        n_seeds=1,
        n_epochs=4,
        batch_size=512,
        learning_rate=2e-3,
        temperature=0.02,
        temperature_rule="paper",
        provider_dropout=0.0,
    ),
}


def resolve_options(preset: str, chosen: dict[str, Any]) -> LightOptions:
    """Return a preset with those options replaced that are not None.

    Raises
    ------
    OptionError
        For an unknown preset, or a value out of range.
    """
    if preset not in PRESETS:
        raise OptionError(f"LightFusion: no preset {preset!r}{closest(preset, PRESETS)}")
    known = {field.name for field in fields(LightOptions)}
    given = {name: value for name, value in chosen.items() if value is not None and name in known}
    return replace(PRESETS[preset], **given)
