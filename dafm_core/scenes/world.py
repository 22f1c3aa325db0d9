"""Scenes as facts: things with a shape, a colour, a size and a cell, and families of six scenes
that differ by a few changes.

No pixels and no words here; a provider must never import this.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from random import Random
from typing import Any, Literal, TypeAlias

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart")
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black")
SIZES = ("small", "medium", "large")
CELLS = tuple(product(range(3), range(3)))
"""(row, column) of the nine places; (0, 0) is the top left."""
FAMILY_SIZE = 6
MAX_THINGS = 6
MAX_CHANGES = 2
"""Two members that differ by more than this are no query."""

Kind: TypeAlias = Literal["move", "recolor", "resize", "replace", "add", "remove", "count"]


@dataclass(frozen=True)
class Thing:
    """One shape on the ground."""

    shape: str
    color: str
    size: str
    cell: tuple[int, int]


Scene: TypeAlias = Mapping[int, Thing]
"""Things by identity: the same key in two members of a family is the same thing."""

Signature: TypeAlias = frozenset[tuple[Thing, int]]
"""What a scene shows: its things, and how many of each."""


@dataclass(frozen=True)
class Change:
    """One difference between two scenes, the smallest unit a text speaks of.

    ``before`` is missing for an addition, ``after`` for a removal. A change of ``count`` speaks of
    all things of one shape and colour, of which ``before`` and ``after`` are examples.
    """

    kind: Kind
    before: Thing | None
    after: Thing | None
    n_before: int = 0
    n_after: int = 0


def signature(scene: Scene) -> Signature:
    """Return what a scene shows, without identities: equal for scenes that look the same."""
    return frozenset(Counter(scene.values()).items())


def make_family(rng: Random, taken: set[Signature]) -> list[Scene]:
    """Return six scenes, each one or two edits from one of the first two.

    No scene repeats a signature in ``taken``; theirs are added to it.
    """
    members: list[Scene] = []
    while len(members) < FAMILY_SIZE:
        scene = _edit(rng.choice(members[:2]), rng) if members else _invent(rng)
        if signature(scene) not in taken:
            taken.add(signature(scene))
            members.append(scene)
    return members


def differences(before: Scene, after: Scene) -> list[Change]:
    """Return every change that turns one scene into the other."""
    changes = []
    for key in sorted(before.keys() & after.keys()):
        old, new = before[key], after[key]
        for kind, name in _ATTRIBUTES.items():
            if getattr(old, name) != getattr(new, name):
                changes.append(Change(kind, old, new))
    come = [thing for key, thing in after.items() if key not in before]
    gone = [thing for key, thing in before.items() if key not in after]
    return changes + _amounts(before, after, come, gone)


def _amounts(before: Scene, after: Scene, come: list[Thing], gone: list[Thing]) -> list[Change]:
    """Tell a changed count of like things from a single arrival or departure."""
    n_before, n_after = Counter(map(_look, before.values())), Counter(map(_look, after.values()))
    changes = []
    for things, added in ((come, True), (gone, False)):
        for look in dict.fromkeys(map(_look, things)):
            like = [thing for thing in things if _look(thing) == look]
            old, new = n_before[look], n_after[look]
            if max(old, new) > 1 and (new - old) == (len(like) if added else -len(like)):
                changes.append(Change("count", like[0], like[0], old, new))
            else:
                changes += [
                    Change("add", None, t) if added else Change("remove", t, None) for t in like
                ]
    return changes


def _look(thing: Thing) -> tuple[str, str]:
    return thing.shape, thing.color


_ATTRIBUTES: dict[Kind, str] = {
    "move": "cell",
    "recolor": "color",
    "resize": "size",
    "replace": "shape",
}


def _invent(rng: Random) -> Scene:
    n_things = rng.choice((2, 3, 3, 4, 4, 5))
    palette, forms = rng.sample(COLORS, 4), rng.sample(SHAPES, 4)
    return {
        key: Thing(rng.choice(forms), rng.choice(palette), rng.choice(SIZES), cell)
        for key, cell in enumerate(rng.sample(CELLS, n_things))
    }


def _edit(scene: Scene, rng: Random) -> Scene:
    """Apply one edit, or two in a quarter of the cases."""
    for _ in range(1 if rng.random() < 3 / 4 else 2):
        scene = rng.choice(_EDITS)(scene, rng)
    return scene


def _change_attribute(scene: Scene, rng: Random, name: str, values: Sequence[Any]) -> Scene:
    key = rng.choice(sorted(scene))
    others = [value for value in values if value != getattr(scene[key], name)]
    return {**scene, key: replace(scene[key], **{name: rng.choice(others)})}


def _move(scene: Scene, rng: Random) -> Scene:
    return _change_attribute(scene, rng, "cell", _free(scene))


def _recolor(scene: Scene, rng: Random) -> Scene:
    return _change_attribute(scene, rng, "color", COLORS)


def _resize(scene: Scene, rng: Random) -> Scene:
    return _change_attribute(scene, rng, "size", SIZES)


def _replace(scene: Scene, rng: Random) -> Scene:
    return _change_attribute(scene, rng, "shape", SHAPES)


def _add(scene: Scene, rng: Random) -> Scene:
    if len(scene) >= MAX_THINGS:
        return _remove(scene, rng)
    thing = Thing(
        rng.choice(SHAPES), rng.choice(COLORS), rng.choice(SIZES), rng.choice(_free(scene))
    )
    return {**scene, _new_key(scene): thing}


def _remove(scene: Scene, rng: Random) -> Scene:
    if len(scene) < 2:
        return _add(scene, rng)
    gone = rng.choice(sorted(scene))
    return {key: thing for key, thing in scene.items() if key != gone}


def _multiply(scene: Scene, rng: Random) -> Scene:
    """Set one or two copies of a thing beside it."""
    n_copies = min(rng.choice((1, 2)), MAX_THINGS - len(scene))
    if not n_copies:
        return _remove(scene, rng)
    model = scene[rng.choice(sorted(scene))]
    copies = [replace(model, cell=cell) for cell in rng.sample(_free(scene), n_copies)]
    return {**scene, **dict(enumerate(copies, start=_new_key(scene)))}


def _free(scene: Scene) -> list[tuple[int, int]]:
    taken = {thing.cell for thing in scene.values()}
    return [cell for cell in CELLS if cell not in taken]


def _new_key(scene: Scene) -> int:
    return max(scene) + 1


_EDITS: tuple[Callable[[Scene, Random], Scene], ...] = (
    _move, _recolor, _resize, _replace, _add, _remove, _multiply,
)  # fmt: skip
