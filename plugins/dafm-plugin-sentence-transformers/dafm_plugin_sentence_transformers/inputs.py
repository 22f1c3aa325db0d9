"""What a model is given: texts, images, captions in their place, and references with a text.

Every input says what it is, as a mapping from modality to value: a bare text that looks like the
address of an image would be opened or downloaded by the library. Inputs of one kind go to the model
together, since what the library makes of one input may depend on the kinds beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeAlias

from dafm_core.contract.items import ImageRef, Query
from dafm_core.errors import OptionError, ProviderError
from dafm_core.wrapping.caption_file import CaptionFile
from dafm_core.wrapping.composing import Compose
from dafm_core.wrapping.decoding import open_rgb
from dafm_core.wrapping.inference import Settings

Input: TypeAlias = dict[str, Any]
LongTexts: TypeAlias = Literal["refuse", "cut"]


class Inputs:
    """Makes a model's inputs.

    Parameters
    ----------
    model : a model of sentence-transformers
        For its modalities and its tokeniser.
    where : str
        Start of error messages: the provider.
    captions : path or None
        File of captions that stand for the images.
    settings : Settings
        ``workers`` threads open images.
    prompt : str or None
        What the model puts before a query; it counts towards the length of a text.
    long_texts : {"refuse", "cut"}
    """

    def __init__(
        self,
        model: Any,
        where: str,
        *,
        captions: str | Path | None,
        settings: Settings,
        prompt: str | None,
        long_texts: LongTexts,
    ) -> None:
        self._model, self._where, self._settings = model, where, settings
        self._prompt, self._long_texts = prompt, long_texts
        self._captions = None if captions is None else CaptionFile.read(captions)
        self.fingerprint = {
            "images": "pixels"
            if self._captions is None
            else f"captions sha256 {self._captions.sha256}",
            "long_texts": long_texts,
        }
        need = "image" if self._captions is None else "text"
        if not model.supports(need):
            hint = " Give --set captions=FILE." if need == "image" else ""
            raise ProviderError(
                f"{where}: expected a model that reads {need}s, got one of {self._kinds()}.{hint}"
            )

    def slices(self, n_items: int) -> Iterator[slice]:
        """Yield which of the images are opened at once: a batch; all of them if they are texts."""
        if self._captions is not None:
            return iter((slice(0, n_items),))
        return self._settings.batches(n_items)

    @property
    def can_join(self) -> bool:
        """Whether references and text can be one input."""
        return self._captions is not None or self._model.supports(("image", "text"))

    def choose(self, compose: str) -> Compose:
        """Return how queries are composed: for ``auto`` the first way that the model allows.

        Raises
        ------
        OptionError
            If it does not allow the way asked for.
        """
        if compose == "auto":
            if self._captions is None and self.can_join:
                return "joint"
            return "text" if self._captions is not None else "sum"
        if compose == "joint" and not self.can_join:
            raise OptionError(
                f"{self._where}: option 'compose': expected a model that takes an image and a text "
                f"as one input for 'joint', got one of {self._kinds()} apart. Give compose=sum."
            )
        if compose in ("text", "sum") and not self._model.supports("text"):
            raise OptionError(
                f"{self._where}: option 'compose': expected a model that reads texts for "
                f"{compose!r}, got one of {self._kinds()}. Give compose=image."
            )
        return compose  # type: ignore[return-value]  # the description lists the choices

    def texts(self, texts: Sequence[str]) -> list[Input]:
        """Return queries' texts; raises ProviderError for one that is too long."""
        if self._long_texts == "refuse":
            self._check_lengths(texts)
        return [{"text": text} for text in texts]

    def images(self, images: Sequence[ImageRef]) -> list[Input | None]:
        """Return images, or the captions of each as one text; None for one without any."""
        if self._captions is None:
            return [{"image": picture} for picture in self._open(images)]
        found = self._captions.of(images, role="image")
        return [{"text": " ".join(own)} if own else None for own in found]

    def joint(self, queries: Sequence[Query]) -> list[Input]:
        """Return references and text as one input; the text alone where there is no reference."""
        if self._captions is not None:
            found = [self._captions.of(query.references, role="reference") for query in queries]
            told = [" ".join(" ".join(own) for own in captions if own) for captions in found]
            return self.texts(
                [
                    " ".join(filter(None, (start, query.text)))
                    for start, query in zip(told, queries, strict=True)
                ]
            )
        inputs = self.texts([query.text for query in queries])
        if max(len(query.references) for query in queries) > 1:
            self._require_several()
        for query, item in zip(queries, inputs, strict=True):
            if pictures := self._open(query.references):
                text = item.pop("text")  # the image goes first: chat templates keep the order
                item |= {"image": pictures if len(pictures) > 1 else pictures[0], "text": text}
        return inputs

    def _open(self, images: Sequence[ImageRef]) -> list[Any]:
        if self._settings.workers < 1 or len(images) < 2:
            return [open_rgb(image) for image in images]
        with ThreadPoolExecutor(self._settings.workers) as pool:
            return list(pool.map(open_rgb, images))

    def _check_lengths(self, texts: Sequence[str]) -> None:
        limit, tokenizer = self._model.max_seq_length, getattr(self._model, "tokenizer", None)
        if limit is None or not callable(tokenizer) or not texts:
            return
        prompt = self._prompt or ""
        rows = tokenizer([prompt + text for text in texts], truncation=False, verbose=False)
        for text, ids in zip(texts, rows["input_ids"], strict=True):
            if len(ids) > limit:
                raise ProviderError(
                    f"{self._where}: expected a text of at most {limit} tokens, got {len(ids)} for "
                    f"{text[:40]!r}. Shorten it, or give --set long_texts=cut."
                )

    def _require_several(self) -> None:
        if "message" not in self._model.modalities:
            raise ProviderError(
                f"{self._where}: expected one reference per query, got several: the model takes a "
                "single image with a text. Give --set compose=sum."
            )

    def _kinds(self) -> str:
        return " and ".join(
            "+".join(kind) if isinstance(kind, tuple) else str(kind)
            for kind in self._model.modalities
        )


def alike(inputs: Sequence[Input | None]) -> list[list[int]]:
    """Return the places of inputs of one kind each: the same modalities and number of images.

    Inputs of None are left out.
    """
    places: dict[tuple[str, ...], list[int]] = {}
    for place, item in enumerate(inputs):
        if item is not None:
            image = item.get("image")
            n_images = len(image) if isinstance(image, list) else 1
            places.setdefault((*item, str(n_images)), []).append(place)
    return list(places.values())
