"""What the service takes, and what it says where that is exceeded."""

from __future__ import annotations

from dataclasses import dataclass


class Refused(Exception):  # noqa: N818  # an answer, not a fault
    """A request that is answered with a status and one line of reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason

    @property
    def headers(self) -> dict[str, str]:
        """What goes with the answer."""
        return {"retry-after": "2"} if self.status == 503 else {}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one request, and of how many are at work.

    Parameters
    ----------
    body_bytes : int
        Of a whole request.
    image_bytes, image_pixels : int
        Of one uploaded image; pixels are counted before anything is decoded.
    references : int
        Of one query, uploaded and named ones together.
    k : int
        Hits of one query.
    waiting : int
        Queries that wait; one more is answered 503, and so is a few more before it is read.
    seconds : float
        Until a request is there as a whole, after which it is answered 408; and from there to its
        answer, after which it is answered 503.
    """

    body_bytes: int = 40 << 20
    image_bytes: int = 20 << 20
    image_pixels: int = 50_000_000
    references: int = 8
    k: int = 200
    waiting: int = 64
    seconds: float = 60.0

    def to_json(self) -> dict[str, float]:
        """Return every limit by name."""
        return dict(vars(self))
