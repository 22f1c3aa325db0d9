"""Calls of one model at work: one at a time, and with a limit, so that what hangs holds up nobody.

Whom a search does without, and what it says of it, is ``asking.py``'s.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from dafm_core.errors import ProviderError
from dafm_core.ground.printable import first_line
from dafm_core.scoring.boundary import announcing

T = TypeVar("T")


class Caller:
    """Calls one model.

    Without a limit a call runs in the thread that asks. With one it runs in a thread of its own,
    always the same, which may stay behind: the model is then *late*, and whoever asks meanwhile is
    told so at once, until the late call has returned.

    Parameters
    ----------
    name : str
        Of the provider, for errors.
    seconds : float, optional
        What one call may take.
    """

    def __init__(self, name: str, seconds: float | None = None) -> None:
        self._name = name
        self._seconds = seconds
        self._tell = announcing.get()  # here, for the threads that call have a context of their own
        self._changed = threading.Condition()
        self._is_busy = False
        self._is_late = False
        self._tasks: SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def is_late(self) -> bool:
        """Whether a call that nobody waits for any more has not returned."""
        return self._is_late

    def __call__(self, function: Callable[[], T]) -> T:
        """Return what a function returns; raise what it raises.

        Raises
        ------
        ProviderError
            If it does not return in time, or an earlier call has not; in place of what is no
            Exception, if it raises that.
        """
        self._take_turn()
        if self._seconds is None:
            try:
                return self._called(function)
            finally:
                self._give_turn()
        task: Future[T] = Future()
        self._tasks.put((function, task))
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._work, name=f"dafm-{self._name}", daemon=True
            )
            self._thread.start()
        try:
            return task.result(self._seconds)
        except TimeoutError:
            with self._changed:
                if task.done():
                    return task.result()
                self._is_late = True
                self._changed.notify_all()
            raise ProviderError(
                f"provider {self._name!r}: did not return within {self._seconds:g} s. It is left "
                "out until it does."
            ) from None

    def _take_turn(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_busy or self._is_late)
            if self._is_late:
                raise ProviderError(
                    f"provider {self._name!r}: has not returned from an earlier query, which took "
                    f"more than {self._seconds:g} s. It is left out until it does."
                )
            self._is_busy = True

    def _give_turn(self) -> None:
        with self._changed:
            self._is_busy = self._is_late = False
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            function, task = self._tasks.get()
            try:
                result = self._called(function)
            except Exception as error:
                self._settle(partial(task.set_exception, error))
            else:
                self._settle(partial(task.set_result, result))

    def _called(self, function: Callable[[], T]) -> T:
        """Return what a function returns; what it raises that is no Exception becomes one."""
        self._tell(f"provider {self._name!r} at a query")
        try:
            return function()
        except Exception:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and _is_main():
                raise  # the user's
            raise ProviderError(
                f"provider {self._name!r}: it raised {type(error).__name__} "
                f"({first_line(error)}), which would end the process."
            ) from error
        finally:
            self._tell("")

    def _settle(self, settle: Callable[[], object]) -> None:
        with self._changed:
            settle()
        self._give_turn()


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()
