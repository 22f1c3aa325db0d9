"""What happened to the faults of one kind."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """Counts of one kind of fault.

    Parameters
    ----------
    kind, made : str
        What the fault is, and how it is made.
    injected : int
        How often.
    survived : int
        The command was refused in one line or went on rightly, and what was finished was kept.
    lost, wrong, tracebacks : int
        Something finished was lost or left for good; a number was another one; a bug's traceback.
    notes : list of str
        Where, of the first that did not survive.
    minutes : float
        What it took.
    """

    kind: str
    made: str
    injected: int = 0
    survived: int = 0
    lost: int = 0
    wrong: int = 0
    tracebacks: int = 0
    notes: list[str] = field(default_factory=list)
    minutes: float = 0.0

    def add(self, verdict: str, where: str) -> None:
        """Count one fault as ``survived``, ``lost``, ``wrong`` or ``tracebacks``."""
        self.injected += 1
        setattr(self, verdict, getattr(self, verdict) + 1)
        note = f"{verdict}: {where}"
        if verdict != "survived" and note not in self.notes and len(self.notes) < 20:
            self.notes.append(note)

    def row(self) -> str:
        """Return the line of a Markdown table."""
        counts = (self.injected, self.survived, self.lost, self.wrong, self.tracebacks)
        return f"| {self.kind} | {self.made} | " + " | ".join(f"{n:,}" for n in counts) + " |"
