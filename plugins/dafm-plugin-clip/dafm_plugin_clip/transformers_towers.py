"""CLIP, SigLIP, SigLIP 2 and their like, with the preprocessing that comes with the model."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor

from dafm_core.errors import ProviderError
from dafm_core.ground.printable import first_line
from dafm_core.wrapping.inference import Settings
from dafm_core.wrapping.target_pad import as_rgb, refuse_deep
from dafm_plugin_clip.source import find

if TYPE_CHECKING:
    from PIL.Image import Image

_N_EXTRA = 3  # columns beside a patch: whether it is one, and how many rows and columns there are


class ProcessorTransform:
    """Pillow image -> what the model's own image processor makes of it in RGB, float32.

    Alpha is dropped, whatever the release of the library does with it.

    Processors of NaFlex models give patches, a mask and the shape of the grid; the last two travel
    as further columns of the patches.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def __call__(self, image: Image) -> NDArray[np.float32]:
        """Return the pixels of one image."""
        refuse_deep(image)
        made = self.processor(images=as_rgb(image), return_tensors="np")
        pixels = np.asarray(made["pixel_values"][0], np.float32)
        if "spatial_shapes" not in made:
            return pixels
        extra = np.empty((len(pixels), _N_EXTRA), np.float32)
        extra[:, 0] = made["pixel_attention_mask"][0]
        extra[:, 1:] = made["spatial_shapes"][0]
        return np.concatenate([pixels, extra], axis=1)


class TransformersTowers:
    """A model with ``get_text_features`` and ``get_image_features``, and what feeds them."""

    def __init__(self, model: Any, tokenizer: Any, processor: Any, settings: Settings) -> None:
        self.model = model.to(settings.device).eval().requires_grad_(False)
        self.settings, self._tokenizer = settings, tokenizer
        self.transform = ProcessorTransform(processor)
        self.context = int(model.config.get_text_config().max_position_embeddings)
        # SigLIP was trained on texts padded to the context, whose last position it reads
        is_padded = str(model.config.model_type).startswith("siglip")
        self._padding = "max_length" if is_padded else "longest"
        with torch.inference_mode():
            self.n_dims = int(self.text_features(["a"]).shape[-1])

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Return raw features (B, D).

        Raises
        ------
        ProviderError
            If a text has more tokens than the model has positions.
        """
        made = self._tokenizer(
            list(texts), padding=self._padding, max_length=self.context, verbose=False
        )
        for text, ids in zip(texts, made["input_ids"], strict=True):
            n_tokens = len(self._tokenizer(text, verbose=False)["input_ids"])
            if len(ids) > self.context and n_tokens > self.context:
                raise ProviderError(
                    f"clip: expected a text of at most {self.context} tokens, got {n_tokens} "
                    f"({text[:60]!r}...). Shorten the text."
                )
        names = [name for name in ("input_ids", "attention_mask") if name in made]
        tensors = {name: self.settings.tensor(np.array(made[name], np.int64)) for name in names}
        return _pooled(self.model.get_text_features(**tensors))

    def image_features(self, pixels: Tensor) -> Tensor:
        """Return raw features (B, D) of what ``transform`` made."""
        if pixels.ndim == 4:
            return _pooled(self.model.get_image_features(pixel_values=pixels.to(self.model.dtype)))
        patches, extra = pixels[..., :-_N_EXTRA], pixels[..., -_N_EXTRA:]
        return _pooled(
            self.model.get_image_features(
                pixel_values=patches.to(self.model.dtype),
                pixel_attention_mask=extra[..., 0].long(),
                spatial_shapes=extra[:, 0, 1:].long(),
            )
        )


def _pooled(output: Any) -> Tensor:
    """Return the features, which older releases give alone."""
    features: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return features


def load(
    model: str, revision: str | None, settings: Settings, where: str
) -> tuple[TransformersTowers, dict[str, str]]:
    """Return the towers, and what a passport says of them.

    Raises
    ------
    ProviderError
        If the model cannot be had, lacks a tensor or a file, or has no towers for texts and images.
    """
    source = find(model, revision, where)
    files = source.weight_files(where)
    try:
        with _quiet():
            config = transformers.AutoConfig.from_pretrained(source.folder)
            _check_kind(config, model, where)
            network, report = transformers.AutoModel.from_pretrained(
                source.folder, config=config, dtype=settings.dtype, output_loading_info=True
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(source.folder)
            processor = transformers.AutoImageProcessor.from_pretrained(  # type: ignore[no-untyped-call]
                source.folder, backend="pil"
            )
    except ProviderError:
        raise
    except Exception as error:  # whatever files can be wrong in
        reason = first_line(error)
        raise ProviderError(
            f"{where}: {model!r} cannot be loaded ({reason[:160]}). Is it complete, with its "
            "tokenizer and preprocessor_config.json?"
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise ProviderError(
            f"{where}: {model!r} lacks {len(missing)} tensors, the first is {missing[0]!r}. "
            "Is it the checkpoint of another model?"
        )
    passport = {
        "files_sha256": source.sha256(files),
        "revision": source.revision,
        "preprocessing": f"{type(processor).__name__} of transformers "
        f"{importlib.metadata.version('transformers')}",
    }
    return TransformersTowers(network, tokenizer, processor, settings), passport


def _check_kind(config: Any, model: str, where: str) -> None:
    kind = transformers.MODEL_MAPPING.get(type(config), object)
    classes = kind if isinstance(kind, tuple | list) else (kind,)
    if not all(hasattr(of, f"get_{what}_features") for of in classes for what in ("text", "image")):
        raise ProviderError(
            f"{where}: expected a model of texts and images, such as CLIP or SigLIP, got "
            f"{config.model_type!r} ({model}). Is it one for --provider st?"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library from reporting what is said here in one line, or drawing bars."""
    logger = logging.getLogger("transformers")
    report: Any = transformers.utils.logging
    before, bars = logger.level, report.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    report.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(before)
        if bars:
            report.enable_progress_bar()
