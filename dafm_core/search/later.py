"""Work that waits until it is worth doing: after many queries, and beside them."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Later:
    """Does something once, on a thread of its own, when so many queries have been asked.

    Parameters
    ----------
    many : int
    """

    def __init__(self, many: int) -> None:
        self._many, self._n_asked = many, 0
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def count(self, n: int, work: Callable[[], None]) -> None:
        """Count n more queries; with the last of many of them the work begins."""
        with self._lock:
            self._n_asked += n
            if self._thread is None and self._n_asked >= self._many:
                self._thread = threading.Thread(target=work)
                self._thread.start()

    def wait(self) -> None:
        """Return when the work is done, if it has begun."""
        if self._thread is not None:
            self._thread.join()
