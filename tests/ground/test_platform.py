"""Memory counted in bytes, advice that changes nothing, and systems that offer neither."""

import mmap
import subprocess
import sys

import numpy as np

from dafm_core.ground import platform

ELSEWHERE = """
import sys
sys.modules["resource"] = None  # importing it fails, as on Windows
import dafm_core.scoring.score, dafm_core.wrapping.checkpoints
from dafm_core.ground.platform import page_out, peak_memory_bytes
assert peak_memory_bytes() == 0
sys.platform = "win32"
page_out(1, 1 << 30)  # an address that is not ours: must not be touched
"""


def test_the_peak_is_in_bytes_and_grows_with_what_is_used():
    before = platform.peak_memory_bytes()
    block = np.ones(before + 64 * 2**20, np.uint8)  # more than the peak so far, and touched
    assert block.nbytes < platform.peak_memory_bytes() < 8 * block.nbytes


def test_memory_paged_out_keeps_its_content(tmp_path):
    content = np.random.default_rng(0).bytes(3 * mmap.PAGESIZE + 5)
    (tmp_path / "weights").write_bytes(content)
    mapped = np.memmap(tmp_path / "weights", mode="r")
    for start, n_bytes in ((0, len(content)), (7, len(content) - 7), (7, 11), (0, 0)):
        platform.page_out(mapped.ctypes.data + start, n_bytes)
    assert mapped.tobytes() == content


def test_without_either_everything_is_imported_all_the_same():
    command = [sys.executable, "-c", ELSEWHERE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
