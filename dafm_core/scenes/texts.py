"""Differences between two scenes in varied English: many templates, synonyms, and referring
expressions that are sometimes too short to be certain, as people's are.

No pixels here. Providers read the texts with vocabularies of their own, which know fewer words.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from dafm_core.scenes.world import Change, Scene, Thing

SHAPE_WORDS = {
    "circle": ("circle", "circle", "disc", "dot", "ball"),
    "square": ("square", "square", "box", "block"),
    "triangle": ("triangle", "triangle", "pyramid"),
    "star": ("star",),
    "cross": ("cross", "cross", "plus sign"),
    "ring": ("ring", "ring", "hoop", "donut"),
    "heart": ("heart",),
}
COLOR_WORDS = {
    "red": ("red", "red", "red", "crimson", "scarlet"),
    "orange": ("orange", "orange", "tangerine"),
    "yellow": ("yellow", "yellow", "golden"),
    "green": ("green", "green", "emerald"),
    "blue": ("blue", "blue", "blue", "navy"),
    "purple": ("purple", "purple", "violet"),
    "pink": ("pink", "pink", "rose"),
    "white": ("white", "white", "ivory"),
    "black": ("black", "black", "dark"),
}
SIZE_WORDS = {
    "small": ("small", "little", "tiny"),
    "medium": ("medium", "mid-sized"),
    "large": ("large", "big", "huge"),
}
PLACE_WORDS = {
    (0, 0): ("top left", "upper left corner"),
    (0, 1): ("top", "top centre", "upper edge"),
    (0, 2): ("top right", "upper right corner"),
    (1, 0): ("left", "left side", "middle left"),
    (1, 1): ("middle", "centre"),
    (1, 2): ("right", "right side", "middle right"),
    (2, 0): ("bottom left", "lower left corner"),
    (2, 1): ("bottom", "bottom centre", "lower edge"),
    (2, 2): ("bottom right", "lower right corner"),
}
NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six")

CLAUSES = {
    "move": (
        "move {old} to the {place}",
        "put {old} in the {place}",
        "{old} should be at the {place}",
        "shift {old} {direction}",
        "{old} goes further {direction}",
        "have {old} at the {place} instead",
    ),
    "recolor": (
        "make {old} {color}",
        "paint {old} {color}",
        "change {old} to {color}",
        "{old} is {color} now",
        "turn {old} {color}",
        "{color} instead of {old_color} for {old}",
    ),
    "resize": (
        "make {old} {size}",
        "{old} should be {size}",
        "{old} is {size} now",
        "{old} becomes {comparative}",
        "make {old} {comparative}",
    ),
    "replace": (
        "replace {old} with a {shape}",
        "turn {old} into a {shape}",
        "a {shape} instead of {old}",
        "swap {old} for a {shape}",
        "{old} becomes a {shape}",
    ),
    "add": (
        "add {new}",
        "there is also {new}",
        "has {new} as well",
        "plus {new}",
        "put {new} in",
        "with another thing, {new}",
    ),
    "remove": (
        "remove {old}",
        "without {old}",
        "take {old} away",
        "{old} is gone",
        "no {bare} anymore",
        "drop {old}",
    ),
    "count": (
        "{n_after} {look}",
        "there should be {n_after} {look}",
        "{n_after} {look} instead of {n_before}",
        "change the number of {looks} to {n_after}",
        "have exactly {n_after} {look}",
        "{comparison} {looks}",
    ),
}
OPENINGS = (
    "", "", "", "", "", "the same but ", "same scene, ", "similar, only ", "like this, but ",
    "almost identical: ", "as before, except: ",
)  # fmt: skip
JOINTS = (" and ", ", ", ", and ", "; also ", ", then ")


def describe(changes: Sequence[Change], before: Scene, rng: Random) -> str:
    """Return one sentence about the changes, in random order.

    A sentence about several changes leaves one unsaid in a fifth of the cases.
    """
    told = rng.sample(changes, len(changes))
    if len(told) > 1 and rng.random() < 0.2:
        told.pop()
    clauses = []
    known: Thing | None = None
    for change in told:
        clauses.append(_clause(change, before, known, rng))
        known = change.before if change.kind not in ("count", "remove") else None
    text = clauses[0]
    for clause in clauses[1:]:
        text += rng.choice(JOINTS) + clause
    return rng.choice(OPENINGS) + text


def _clause(change: Change, before: Scene, known: Thing | None, rng: Random) -> str:
    old, new = change.before, change.after
    words: dict[str, str] = {}
    if change.kind == "count" and old is not None:
        words = {
            "look": _alike(old, change.n_after, rng),
            "looks": _alike(old, 2, rng),
            "n_before": NUMBER_WORDS[change.n_before],
            "n_after": NUMBER_WORDS[change.n_after],
            "comparison": "more" if change.n_after > change.n_before else "fewer",
        }
    elif old is not None:
        words["old"] = "it" if old is known and rng.random() < 0.7 else refer(old, before, rng)
        words["bare"] = words["old"].removeprefix("the ")
        words["old_color"] = rng.choice(COLOR_WORDS[old.color])
    if new is not None:
        words |= {
            "shape": _shape(new, rng),
            "color": rng.choice(COLOR_WORDS[new.color]),
            "size": rng.choice(SIZE_WORDS[new.size]),
            "place": rng.choice(PLACE_WORDS[new.cell]),
        }
    if change.kind == "add" and new is not None:
        words["new"] = _introduce(new, rng)
    if old is not None and new is not None:
        words["direction"] = _direction(old, new)
        words["comparative"] = _comparative(old, new, rng)
    return rng.choice(CLAUSES[change.kind]).format(**words)


def refer(thing: Thing, scene: Scene, rng: Random) -> str:
    """Return a definite description of a thing: usually enough to find it, not always."""
    said = {name for name, chance in _MENTION.items() if rng.random() < chance}
    if rng.random() < 0.75:
        for name in rng.sample(sorted(_MENTION), len(_MENTION)):
            if _matches(thing, scene, said) == 1:
                break
            said.add(name)
    return "the " + _noun_phrase(thing, said, rng)


_MENTION = {"color": 0.6, "shape": 0.85, "size": 0.15, "cell": 0.12}


def _matches(thing: Thing, scene: Scene, said: set[str]) -> int:
    return sum(
        all(getattr(other, name) == getattr(thing, name) for name in said)
        for other in scene.values()
    )


def _introduce(thing: Thing, rng: Random) -> str:
    said = {"color", "shape"}
    said |= {name for name, chance in (("size", 0.4), ("cell", 0.6)) if rng.random() < chance}
    phrase = _noun_phrase(thing, said, rng)
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def _noun_phrase(thing: Thing, said: set[str], rng: Random) -> str:
    words = []
    if "size" in said:
        words.append(rng.choice(SIZE_WORDS[thing.size]))
    if "color" in said:
        words.append(rng.choice(COLOR_WORDS[thing.color]))
    words.append(_shape(thing, rng) if "shape" in said else rng.choice(("one", "thing", "shape")))
    if "cell" in said:
        words.append(f"at the {rng.choice(PLACE_WORDS[thing.cell])}")
    return " ".join(words)


def _shape(thing: Thing, rng: Random) -> str:
    return rng.choice(SHAPE_WORDS[thing.shape])


def _alike(thing: Thing, number: int, rng: Random) -> str:
    noun = _shape(thing, rng)
    if number != 1:
        noun += "es" if noun.endswith(("s", "x")) else "s"
    return f"{rng.choice(COLOR_WORDS[thing.color])} {noun}"


def _direction(old: Thing, new: Thing) -> str:
    rows, columns = new.cell[0] - old.cell[0], new.cell[1] - old.cell[1]
    words = [("up", "down")[rows > 0]] if rows else []
    words += [("to the left", "to the right")[columns > 0]] if columns else []
    return " and ".join(words)


def _comparative(old: Thing, new: Thing, rng: Random) -> str:
    sizes = list(SIZE_WORDS)
    grows = sizes.index(new.size) > sizes.index(old.size)
    return rng.choice(("bigger", "larger") if grows else ("smaller", "tinier"))
