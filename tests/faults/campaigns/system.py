"""A system that refuses: read-only folders and files, a disk that is really full, quotas of the
file system and of the process, a clock that goes backwards. What is refused is refused in one line,
and the command finishes once it can.

Root may write everywhere and mount disks: permissions are tried without its capabilities, and a
full disk or a quota only where one may be mounted; the quota is that of a subvolume of btrfs, with
the tools of that name.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Final

from tests.faults.campaigns.kills import Prepared
from tests.faults.campaigns.outcome import Outcome
from tests.faults.forking import Ending, forked

REFUSAL: Final = re.compile(
    r"^(dafm_core\.(errors|serve\.limits)\.\w+|[A-Z]\w*Error: \[Errno \d+\])", re.M
)
"""The last line of what Python's interface raises; the command line makes one line of it."""
PAGE: Final = 4096
QUOTAS: Final = (300, 1000, 3000)
FIRST: Final = "0/256"
"""What btrfs calls the quota of the first subvolume of a disk."""
FAR: Final = 10**9
"""Seconds into the future."""


def refusals(home: Path, *, kinds: Sequence[str]) -> Iterator[Outcome]:
    """Let the system refuse every command in every way, at each of its files."""
    denied = Outcome("each command", "a folder read-only, or a file unreadable, one at a time")
    full = Outcome("each command", "a disk that is full after so many pages")
    quota = Outcome("each command", "a quota of the file system (btrfs) that ends in the middle")
    longest = Outcome("each command", "no file larger than 300, 1,000, 3,000 bytes")
    clock = Outcome("each command", "a clock that goes backwards, files from the future")
    for number, kind in enumerate(kinds):
        disk = home / str(number)
        disk.mkdir(parents=True)
        with mounted(disk) as resize:
            prepared = Prepared(disk, kind)
            _denied(denied, prepared)
            if resize is not None:
                _full(full, prepared, resize)
            for size in QUOTAS:
                _refused(longest, prepared, f"{kind}, {size} bytes", partial(limit, size))
            _refused(clock, prepared, f"{kind}, clock", partial(backwards, prepared.work))
    with subvolume(home / "btrfs") as limited:
        if limited is not None:
            folder, allow = limited
            for number, kind in enumerate(kinds):
                _over_quota(quota, Prepared(folder / str(number), kind), folder, allow)
    outcomes = (denied, full, quota, longest, clock)
    yield from (outcome for outcome in outcomes if outcome.injected)


def _denied(outcome: Outcome, prepared: Prepared) -> None:
    prepared.start()
    found = (prepared.work, *sorted(prepared.work.rglob("*")))
    for place in (path.relative_to(prepared.work) for path in found):
        path = prepared.work / place
        prepared.start()
        mode = path.stat().st_mode
        path.chmod(0o555 if path.is_dir() else 0)
        ending = forked(lambda: _after(without_privileges, prepared))
        if path.exists():  # the command may have replaced it
            path.chmod(mode)
        _judge(outcome, prepared, ending, f"{prepared.kind}, no access to {place}")


def _full(outcome: Outcome, prepared: Prepared, resize: Callable[[int], None]) -> None:
    prepared.start()
    before = used(prepared.work)
    forked(prepared.act)
    wanted = max(1, (used(prepared.work) - before) // PAGE)
    for pages in sorted({wanted * n // 8 for n in range(9)}):
        prepared.start()
        resize(max(PAGE, used(prepared.work) + pages * PAGE))  # 0 would be no limit
        ending = forked(prepared.act)
        resize(FAR)
        _judge(outcome, prepared, ending, f"{prepared.kind}, {pages} pages left")


def _over_quota(
    outcome: Outcome, prepared: Prepared, folder: Path, allow: Callable[[int | None], None]
) -> None:
    """Allow parts of what the command needs, by what it took undisturbed."""
    prepared.start()
    before = owned(folder)
    forked(prepared.act)
    needed = owned(folder) - before
    for part in range(4):
        prepared.start()
        allow(owned(folder) + needed * part // 4)
        ending = forked(prepared.act)
        allow(None)
        _judge(outcome, prepared, ending, f"{prepared.kind}, {part} quarters of its quota left")


def _refused(
    outcome: Outcome, prepared: Prepared, where: str, change: Callable[[], object]
) -> None:
    prepared.start()
    _judge(outcome, prepared, forked(lambda: _after(change, prepared)), where)


def _after(change: Callable[[], object], prepared: Prepared) -> int:
    """Run the command changed; say in one line what it raised, for a quota is one of that too."""
    change()
    try:
        prepared.act()
    except Exception as error:
        module = type(error).__module__.replace("builtins", "").rstrip(".")
        line = f"{module}.{type(error).__name__}".lstrip(".") + f": {error}"
        print(line[:150], file=sys.stderr)
        return 1
    return 0


def _judge(outcome: Outcome, prepared: Prepared, ending: Ending, where: str) -> None:
    """Count a traceback of the refused command itself, or what became of it when repeated."""
    said = ending.err.strip().splitlines()
    is_line = "the command failed" in ending.err and said[0].startswith("dafm: ")
    if ending.code < 0 or (ending.code and not is_line and not REFUSAL.search(ending.err)):
        outcome.add("tracebacks", f"{where}: {ending.code} {ending.err[-300:]}")
    else:
        prepared.judge(outcome, f"{where}: {ending.err[-200:]}")


@contextmanager
def mounted(folder: Path) -> Iterator[Callable[[int], None] | None]:
    """Give what sets the size, in bytes, of a disk at ``folder``; None where none may be made."""
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={FAR}", "dafm-faults", str(folder)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        yield None
        return

    def resize(size: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)

    try:
        yield resize
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def subvolume(folder: Path) -> Iterator[tuple[Path, Callable[[int | None], None]] | None]:
    """Give a folder with a quota and what sets it, in bytes; None where there may be none."""
    folder.mkdir(parents=True)
    image, part = folder.with_suffix(".img"), folder / "part"
    with image.open("wb") as file:
        file.truncate(256 << 20)
    steps = (
        ("mkfs.btrfs", "-q", image),
        ("mount", "-o", "loop", image, folder),
        ("btrfs", "-q", "subvolume", "create", part),
        ("btrfs", "-q", "quota", "enable", folder),
    )
    n_done = 0
    try:
        n_done = sum(1 for _ in takewhile(_runs, steps))

        def allow(size: int | None) -> None:
            # Asked of the whole disk: the subvolume itself may have no byte left for the answer.
            words = ["btrfs", "qgroup", "limit", str(size or "none"), FIRST, folder]
            subprocess.run(words, check=True)

        yield (part, allow) if n_done == len(steps) else None
    finally:
        if n_done >= 2:
            subprocess.run(["umount", str(folder)], check=True)
        image.unlink()


def _runs(words: Sequence[str | Path]) -> bool:
    if shutil.which(words[0]) is None:
        return False
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def owned(folder: Path) -> int:
    """Return the bytes that count towards the quota of a subvolume."""
    os.sync()
    shown = ["btrfs", "qgroup", "show", "--raw", "-f", folder]
    return int(subprocess.check_output(shown, text=True).splitlines()[-1].split()[1])


def used(folder: Path) -> int:
    """Return the bytes in use on the disk of a folder."""
    disk = os.statvfs(folder)
    return (disk.f_blocks - disk.f_bfree) * disk.f_frsize


def without_privileges() -> None:
    """Give up every capability of root, for this process: a mode forbids it what it forbids all."""
    if os.geteuid() == 0:
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        none = (ctypes.c_uint32 * 6)()
        if ctypes.CDLL(None, use_errno=True).capset(header, none):
            raise SystemExit("capset was refused")


def limit(size: int) -> None:
    """Let no file of this process grow beyond ``size`` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def backwards(folder: Path) -> None:
    """Let the clock of this process go back an hour at each look, from files of the future."""
    for path in folder.rglob("*"):
        os.utime(path, (time.time() + FAR, time.time() + FAR))
    now = [time.time()]

    def earlier() -> float:
        now[0] -= 3600
        return now[0]

    time.time = earlier
    time.time_ns = lambda: int(earlier() * 1e9)
