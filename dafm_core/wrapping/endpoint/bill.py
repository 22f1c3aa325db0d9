"""What asking would cost, said before anything is sent."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from dafm_core.errors import OptionError

logger = logging.getLogger(__name__)

CHARACTERS_PER_TOKEN = 4
"""Of English, roughly; no tokeniser of a server's model is known here."""


@dataclass(frozen=True, kw_only=True)
class Bill:
    """Requests that a job takes.

    Parameters
    ----------
    n_requests, n_texts, n_images, n_characters : int
        Not counting what is answered already.
    n_cached : int
        Questions that are answered already.
    """

    n_requests: int
    n_texts: int = 0
    n_images: int = 0
    n_characters: int = 0
    n_cached: int = 0

    @property
    def n_tokens(self) -> int:
        """About how many tokens the texts have, instructions included."""
        return self.n_characters // CHARACTERS_PER_TOKEN

    def __str__(self) -> str:
        parts = [f"{self.n_texts:,} texts of about {self.n_tokens:,} tokens"]
        if self.n_images:
            parts.append(f"{self.n_images:,} images")
        return (
            f"{self.n_requests:,} requests ({' and '.join(parts)}); {self.n_cached:,} questions "
            "are answered already"
        )

    def settle(self, *, send: bool, url: str, model: str, where: str) -> None:
        """Log the bill if it may be sent, and there is anything to send.

        Raises
        ------
        OptionError
            If there is, and it may not.
        """
        if not self.n_requests:
            return
        if not send:
            raise OptionError(
                f"{where}: nothing was sent. {url} would get {self} for model {model!r}. Repeat "
                "with --set send=yes."
            )
        logger.warning("%s: %s gets %s for model %r", where, url, self, model)
