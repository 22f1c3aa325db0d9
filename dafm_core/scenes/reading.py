"""What the built-in providers understand of a text: clauses with a few known words, nothing else.

The vocabulary is small on purpose and knows nothing of how the scenes' texts were made: an unknown
word is passed over, and a clause that joins two thoughts is read as one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Action: TypeAlias = Literal["add", "remove", "move", "change", "swap", "count"]

COLORS = {
    "red": 0, "crimson": 0, "scarlet": 0, "orange": 1, "yellow": 2, "golden": 2, "green": 3,
    "blue": 4, "purple": 5, "violet": 5, "pink": 6, "white": 7, "black": 8, "dark": 8,
}  # fmt: skip
SHAPES = {
    "circle": 0, "circles": 0, "disc": 0, "discs": 0, "ball": 0, "balls": 0, "dot": 0, "square": 1,
    "squares": 1, "box": 1, "boxes": 1, "triangle": 2, "triangles": 2, "star": 3, "stars": 3,
    "cross": 4, "crosses": 4, "ring": 5, "rings": 5, "heart": 6, "hearts": 6,
}  # fmt: skip
SIZES = {
    "small": 0, "little": 0, "tiny": 0, "medium": 1, "large": 2, "big": 2, "huge": 2,
}  # fmt: skip
GROWTH = {"smaller": -1, "tinier": -1, "bigger": 1, "larger": 1}
NUMBERS = {"no": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
ROWS = {"top": 0, "upper": 0, "up": 0, "bottom": 2, "lower": 2, "down": 2}
SIDES = {"left": 0, "right": 2}
MIDDLE = frozenset({"middle", "centre", "center"})

_ACTIONS: tuple[tuple[Action, frozenset[str]], ...] = (
    ("remove", frozenset({"remove", "without", "away", "gone", "anymore", "drop"})),
    ("swap", frozenset({"replace", "swap", "into", "instead"})),
    ("move", frozenset({"move", "shift", "further"})),
    ("count", frozenset({"number", "exactly", "more", "fewer"})),
    ("change", frozenset({"make", "paint", "change", "turn", "becomes", "now"})),
    ("add", frozenset({"add", "also", "plus", "another", "well"})),
)
"""The first row with a sign in the clause decides: "also make it red" is a change."""

_BREAK = re.compile(r"[,;:]|\band\b|\bthen\b")


@dataclass(frozen=True)
class Clause:
    """Known words of one clause, in the order they were read."""

    action: Action
    words: tuple[str, ...]

    def find(self, vocabulary: Mapping[str, int]) -> list[int]:
        """Return the meaning of each word that the vocabulary knows."""
        return [vocabulary[word] for word in self.words if word in vocabulary]

    def exchange(self, vocabulary: Mapping[str, int]) -> tuple[int | None, int | None]:
        """Return (what goes, what comes) of a change; one word alone is what comes."""
        meanings = self.find(vocabulary)
        if not meanings:
            return None, None
        old, new = (meanings[0] if len(meanings) > 1 else None), meanings[-1]
        return (new, meanings[0]) if "instead" in self.words and len(meanings) > 1 else (old, new)

    def amount(self, have: float) -> float:
        """Return how many there should be, where ``have`` are there: "three instead of one"."""
        numbers = self.find(NUMBERS)
        if len(numbers) > 1:
            return max(0.0, have + numbers[0] - numbers[1])
        if numbers:
            return float(numbers[0])
        return have + 1 if "more" in self.words else max(0.0, have - 1)

    def place(self) -> tuple[int, int] | None:
        """Return (row, column) in 0, 1, 2 of the last place named; None where there is none."""
        rows, sides = self.find(ROWS), self.find(SIDES)
        if rows or sides:
            return (rows[-1] if rows else 1), (sides[-1] if sides else 1)
        return (1, 1) if MIDDLE & set(self.words) else None


def read(text: str) -> list[Clause]:
    """Return the clauses of a text."""
    return [
        Clause(_action(words), words)
        for part in _BREAK.split(text.lower())
        if (words := tuple(re.findall(r"[a-z]+", part)))
    ]


def _action(words: Sequence[str]) -> Action:
    said = set(words)
    for action, signs in _ACTIONS:
        if said & signs:
            return action
    if said & NUMBERS.keys():
        return "count"
    return "move" if said & (ROWS.keys() | SIDES.keys() | MIDDLE) else "change"
