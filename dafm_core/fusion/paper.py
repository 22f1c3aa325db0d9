"""The paper's network as printed, as a fuser of its own: min-max scores, all candidates, 224
steps: four epochs of the paper's training queries, and more of fewer.

It mixes candidates that stand side by side in the gallery's file, so its scores depend on that
order. What improves on it is LightFusion.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.base import Fuser, Scores, Tile, TileScorer
from dafm_core.fusion.learned import check_learned
from dafm_core.fusion.light.options import PaperOptions
from dafm_core.ground.normalize import minmax_rows
from dafm_core.ground.progress import Progress
from dafm_core.store.gallery import Gallery
from dafm_core.store.stack import SimilarityStack

if TYPE_CHECKING:  # torch takes a second to load; a comparison loads it in its processes
    from dafm_core.fusion.light.network import PaperNetwork
    from dafm_core.fusion.light.training import History


class PaperFusion(Fuser):
    """LightFusion as the paper prints it: equations 2 to 7, on row-wise min-max scores.

    Parameters
    ----------
    **options
        See :class:`PaperOptions`; those of training, by their own names.

    Attributes
    ----------
    network_ : PaperNetwork
    history_ : list
        One list of records: loss and temperature per step.

    References
    ----------
    arXiv 2511.05020, sections 3 and 4.2. Where the text is silent: docs/explanation/ablation.md.
    """

    kind = "learned"
    learns = True
    gallery_order_matters = True

    network_: PaperNetwork
    _history: list[History]

    options_type = PaperOptions

    def __init__(self, **options: Any) -> None:
        self.options = PaperOptions.of(options)

    @property
    def history_(self) -> list[list[dict[str, float]]]:
        """What was recorded while fitting."""
        return self._history

    def params(self) -> dict[str, Any]:
        """Return every option by name."""
        return self.options.flat()

    def get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the network's parameters and its history."""
        state = self.network_.state_dict()
        return {name: tensor.numpy() for name, tensor in state.items()}, {"history": self._history}

    def set_state(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """Restore the network's parameters and its history."""
        import torch

        from dafm_core.fusion.light.usual_torch import usual_torch

        self._history = values["history"]
        with usual_torch():
            self.network_ = self._new_network(len(self.record_.providers))
            self.network_.load_state_dict(
                {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
            )
        self.network_.eval()

    def _fit(
        self, stack: SimilarityStack, *, bank: SimilarityStack | None, progress: Progress | None
    ) -> None:
        from dafm_core.fusion.light.exact import ExactExamples, train_exactly
        from dafm_core.fusion.light.usual_torch import usual_torch

        labelled = stack.labelled()
        examples = ExactExamples(labelled, labelled.dataset.targets)
        with usual_torch():
            self.network_ = self._new_network(stack.n_providers)
            history = train_exactly(
                self.network_,
                examples,
                self.options.training_on(len(examples)),
                n_steps=self.options.n_steps or None,
                shuffled=self.options.gallery_order == "shuffled",
                seed=self.options.seed,
                progress=progress,
            )
        self.network_.eval()
        self._history = [history]
        check_learned(self.name, self.get_state()[0])

    def _scorer(self, gallery: Gallery) -> TileScorer:
        import torch

        from dafm_core.fusion.light.usual_torch import usual_torch

        def score(tile: Tile) -> Scores:
            visible = np.isfinite(tile)
            scaled = np.where(visible, minmax_rows(tile), np.float32(0))
            fused = np.empty((len(tile), tile.shape[2]), np.float32)
            with usual_torch(), torch.inference_mode():
                for row in range(len(tile)):
                    fused[row] = self.network_(torch.from_numpy(scaled[row : row + 1])).numpy()[0]
            fused[~visible[:, 0]] = -np.inf
            return fused

        return score

    def _new_network(self, n_providers: int) -> PaperNetwork:
        from torch import Generator

        from dafm_core.fusion.light.network import PaperNetwork

        generator = Generator().manual_seed(self.options.seed)
        return PaperNetwork(n_providers, self.options.n_hidden, generator=generator)
