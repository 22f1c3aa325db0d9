"""Queries of many clients, answered together: what waits while one batch is at work is the next."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from dafm_core.ground.printable import first_line
from dafm_core.search.answers import Answer
from dafm_core.search.requests import Request
from dafm_core.serve.limits import Limits, Refused

MOST: Final = 16
"""Queries of one batch."""
BUSY: Final = "busy: too many queries wait. Try again in a few seconds."


@dataclass(frozen=True, eq=False)
class _Waiting:
    request: Request
    future: asyncio.Future[Answer]
    loop: asyncio.AbstractEventLoop

    def resolve(self, answer: Answer | None, error: BaseException | None) -> None:
        def settle() -> None:
            if self.future.done():
                return  # its client has left
            if error is not None:
                self.future.set_exception(error)
            elif answer is not None:
                self.future.set_result(answer)

        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(settle)


class Batcher:
    """One thread that answers what has come in.

    Parameters
    ----------
    answer : callable
        From requests to answers, in order; an error of one fails the batch, and then each is asked
        about alone.
    limits : Limits
    """

    def __init__(
        self, answer: Callable[[Sequence[Request]], Sequence[Answer]], limits: Limits
    ) -> None:
        self._answer = answer
        self._limits = limits
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="dafm-search", daemon=True)
        self._thread.start()

    async def ask(self, request: Request) -> Answer:
        """Return the answer to a request.

        Raises
        ------
        Refused
            503, where too many wait or it took too long.
        DafmError
            What the search says of the request.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(request, loop.create_future(), loop)
        with self._changed:
            if len(self._queue) >= self._limits.waiting or self._stopping:
                raise Refused(503, BUSY)
            self._queue.append(waiting)
            self._changed.notify()
        try:
            return await asyncio.wait_for(waiting.future, self._limits.seconds)
        except TimeoutError:
            raise Refused(
                503, f"busy: no answer within {self._limits.seconds:g} seconds. Try again."
            ) from None

    def stop(self) -> None:
        """Answer what waits, and end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._stopping)
                if not self._queue:
                    return
                size = min(MOST, len(self._queue))
                batch = [self._queue.popleft() for _ in range(size)]
            batch = [waiting for waiting in batch if not waiting.future.cancelled()]
            self._answer_all(batch)

    def _answer_all(self, batch: Sequence[_Waiting]) -> None:
        try:
            answers = self._answer([waiting.request for waiting in batch])
        except BaseException as error:  # nothing may end the thread that all queries wait for
            if len(batch) == 1:
                known = error if isinstance(error, Exception) else RuntimeError(first_line(error))
                batch[0].resolve(None, known)
                return
            for waiting in batch:
                self._answer_all([waiting])
            return
        for waiting, answer in zip(batch, answers, strict=True):
            waiting.resolve(answer, None)
