"""The loops of channels, as machine code and as the Python that they are."""

import pytest

from dafm_core.fusion.channels import cell_loops, choice_loops, compiled, row_loops, share_loops
from dafm_core.fusion.channels.compiled import RowLoops


@pytest.fixture(scope="module", params=["machine code", "python"])
def loops(request):
    """Tests turn compiling off (ranx is quicker so); here it is what is tested."""
    if request.param == "python":
        yield RowLoops(
            row_loops.read_rows,
            share_loops.write_shares,
            choice_loops.choose,
            choice_loops.mark_hard,
            choice_loops.draw_around,
            cell_loops.write_channels,
        )
        return
    numba = pytest.importorskip("numba", reason="Numba is the extra dafm-core[compiled]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba.config, "DISABLE_JIT", 0)
        yield compiled.row_loops.__wrapped__()  # not the answer that is remembered
