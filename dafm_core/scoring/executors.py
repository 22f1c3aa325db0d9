"""Where blocks of queries are scored: in this process, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from dafm_core.errors import OptionError, ProviderError, closest
from dafm_core.ground.printable import first_line
from dafm_core.scoring.job import Executor, Scores, run_local

IN_FLIGHT = 2
"""Blocks submitted to Ray ahead of each CPU that works on them: bounds what waits in memory."""


RETRIES = 1
"""How often a block is given to another worker when its own has ended without an answer."""


def load_executor(name: str, *, seconds: float | None = None) -> Executor:
    """Return the executor called ``local`` or ``ray``.

    Parameters
    ----------
    name : str
    seconds : float, optional
        What may pass, under Ray, until the next block comes back. What is scored in this process is
        watched by its command.

    Raises
    ------
    OptionError
        For another name, or where Ray is not installed.
    """
    executors: dict[str, Executor] = {"local": run_local, "ray": partial(run_ray, seconds=seconds)}
    if name not in executors:
        raise OptionError(f"--executor: got {name!r}{closest(name, executors)}")
    return executors[name]


def run_ray(
    function: Callable[[tuple[int, int]], Scores],
    blocks: Iterable[tuple[int, int]],
    *,
    seconds: float | None = None,
) -> Iterator[Scores]:
    """Run blocks as Ray tasks and yield each when it is done; the function is sent once.

    Joins the cluster that ``RAY_ADDRESS`` names, else starts one on this machine. Raises
    ProviderError where no block comes back within ``seconds`` of the one before.
    """
    try:
        import ray
    except ImportError:
        raise OptionError(
            "--executor ray: Ray is not installed. pip install 'dafm-core[ray]'"
        ) from None
    if not ray.is_initialized():
        try:
            ray.init(log_to_driver=False, include_dashboard=False)
        except Exception as error:  # Ray raises bare ones where a machine is too busy, or unreached
            raise ProviderError(
                f"--executor ray: no cluster could be started or joined ({first_line(error)}). "
                "Try again, or leave --executor out."
            ) from None
    shared = ray.put(function)

    @ray.remote(max_retries=RETRIES)  # of a process that ended; what a provider raises is final
    def work(function: Callable[[tuple[int, int]], Scores], block: tuple[int, int]) -> Scores:
        return function(block)

    limit = IN_FLIGHT * max(1, int(ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]
    running: list[Any] = []
    for block in blocks:
        running.append(work.remote(shared, block))
        if len(running) >= limit:
            done, running = _next(ray, running, seconds)
            yield from _results(ray, done)
    while running:
        done, running = _next(ray, running, seconds)
        yield from _results(ray, done)


def _next(ray: Any, running: list[Any], seconds: float | None) -> tuple[list[Any], list[Any]]:
    """Return what is done first, and the rest; end the workers where nothing is, in time."""
    done, rest = ray.wait(running, timeout=seconds)
    if not done:
        for task in rest:
            ray.cancel(task, force=True)
        raise ProviderError(
            f"--executor ray: none of {len(rest)} blocks came back within {seconds:g} s. Finished "
            "blocks are kept: repair the model, or give it longer (--timeout), and repeat the "
            "command to resume."
        )
    return done, rest


def _results(ray: Any, done: list[Any]) -> Iterator[Scores]:
    """Yield results; an error raised in a task is raised here as it was there."""
    try:
        yield from ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise error.cause or error from None
    except ray.exceptions.RayError as error:
        raise ProviderError(
            f"--executor ray: a worker ended without an answer ({first_line(error)}). Finished "
            "blocks are kept: repeat the command to resume."
        ) from None
