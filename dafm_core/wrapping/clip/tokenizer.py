"""CLIP's byte-level BPE: texts to rows of ids, exactly as OpenAI's tokeniser gives them.

The repair of characters is ftfy's, the split into pieces is a ``regex`` pattern, the merging is
done by the ``tokenizers`` library. Not used is ``transformers.CLIPTokenizer``: it runs no ftfy,
pads with another id, and finds special tokens inside runs of punctuation where OpenAI's does not.

The pattern and the table of bytes follow OpenAI CLIP (MIT; see NOTICE).
"""

from __future__ import annotations

import gzip
import hashlib
import html
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import ftfy
import numpy as np
import regex  # type: ignore[import-untyped]
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from dafm_core.errors import ProviderError
from dafm_core.ground.printable import first_line
from dafm_core.ground.sources import source_bytes

N_TOKENS = 49_408
"""Entries of the vocabulary: 512 byte symbols, 48,894 merges and two special tokens."""

MERGES_SHA256 = "f61f2adf497e6f5357c347aeb4646fabe82f341e946de5bdec5d2858e41bef4a"
"""Of the merges, one a line: a wrong list would raise nothing, and the scores would be bad."""

START, END = "<|startoftext|>", "<|endoftext|>"

_PIECES = regex.compile(
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+",
    regex.IGNORECASE,
)
_NEXT = (
    "Give bpe_simple_vocab_16e6.txt.gz, the merges.txt of an OpenAI CLIP model, its folder or name."
)


def read_merges(vocabulary: str, where: str) -> list[tuple[str, str]]:
    """Return the merges of OpenAI CLIP in rank order.

    Parameters
    ----------
    vocabulary : str
        A merge list (plain or gzip, its first line being a header), a folder with ``merges.txt``,
        or the name of a model on the hub, which needs a network or its cache.
    where : str
        Start of every error message: the provider.

    Raises
    ------
    ProviderError
        If there is no such file, or it is not this vocabulary.
    """
    where = f"{where}: vocabulary"
    path = _find(vocabulary, where)
    try:
        content = source_bytes(path)
        text = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        lines = text.decode("utf-8").split("\n")[1:]
    except (OSError, EOFError, ValueError) as error:
        raise ProviderError(f"{where}: {path} cannot be read ({error}). {_NEXT}") from None
    lines = [line.removesuffix("\r") for line in lines[: N_TOKENS - 514]]
    n_merges = sum(bool(line) for line in lines)
    if n_merges != N_TOKENS - 514:
        raise ProviderError(
            f"{where}: expected {N_TOKENS - 514} merges, got {n_merges} ({path}). {_NEXT}"
        )
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    if digest != MERGES_SHA256:
        raise ProviderError(
            f"{where}: expected the merges of OpenAI CLIP, got others ({path}). {_NEXT}"
        )
    return [(pair[0], pair[1]) for pair in (line.split(" ") for line in lines)]


def _find(vocabulary: str, where: str) -> Path:
    path = Path(vocabulary).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        if (path / "merges.txt").is_file():
            return path / "merges.txt"
        raise ProviderError(f"{where}: expected merges.txt in {path}, got none. {_NEXT}")
    if path.suffix or path.is_absolute() or vocabulary.startswith((".", "~")):
        raise ProviderError(f"{where}: {path} does not exist. {_NEXT}")
    from transformers.utils.hub import cached_file

    try:
        return Path(str(cached_file(vocabulary, "merges.txt")))
    except (OSError, ValueError) as error:
        reason = first_line(error)
        raise ProviderError(f"{where}: {vocabulary!r} cannot be had ({reason}). {_NEXT}") from None


@lru_cache
def byte_symbols() -> tuple[str, ...]:
    """Return the printable symbol of each byte, in the order of the vocabulary."""
    themselves = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return tuple(map(chr, [*themselves, *range(256, 512 - len(themselves))]))


def clean(text: str) -> str:
    """Return the text as it is split: repaired, unescaped, spaces collapsed, in lower case."""
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    return str(regex.sub(r"\s+", " ", text)).strip().lower()


class ClipTokenizer:
    """Texts -> ids, int64, padded with 0 after the end token.

    Parameters
    ----------
    merges : sequence of (str, str)
        As :func:`read_merges` gives them.
    context_length : int
        Length of every row, 77 in all released models.
    where : str
        Start of the error message: the provider.
    """

    def __init__(
        self, merges: Sequence[tuple[str, str]], *, context_length: int, where: str
    ) -> None:
        symbols = byte_symbols()
        tokens = [*symbols, *(f"{s}</w>" for s in symbols), *(a + b for a, b in merges), START, END]
        vocab = {token: index for index, token in enumerate(tokens)}
        bpe = BPE(vocab=vocab, merges=list(merges), end_of_word_suffix="</w>")
        self.context_length, self.where = context_length, where
        self.start, self.end = vocab[START], vocab[END]
        self._tokenizer = Tokenizer(bpe)
        self._tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
        self._tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in (START, END)])

    @classmethod
    def for_model(
        cls, vocabulary: str, *, n_tokens: int, context_length: int, where: str
    ) -> ClipTokenizer:
        """Return the tokeniser of a model that embeds ``n_tokens`` tokens.

        Raises
        ------
        ProviderError
            If the vocabulary cannot be had, or the model has another one.
        """
        if n_tokens != N_TOKENS:
            raise ProviderError(
                f"{where}: checkpoint: expected embeddings of {N_TOKENS} tokens, got {n_tokens}. "
                "Is this the checkpoint of another model?"
            )
        return cls(read_merges(vocabulary, where), context_length=context_length, where=where)

    def __call__(self, texts: Sequence[str]) -> tuple[NDArray[np.int64]]:
        """Return :meth:`ids` as ``TorchEncoder`` takes tokens: arrays in a tuple."""
        return (self.ids(texts),)

    def ids(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return one row per text, (n_texts, context_length).

        Raises
        ------
        ProviderError
            If a text has more pieces than the context holds; nothing is cut off silently.
        """
        pieces = [_PIECES.findall(clean(text)) for text in texts]
        rows = np.zeros((len(texts), self.context_length), np.int64)
        encoded = self._tokenizer.encode_batch(pieces, is_pretokenized=True)
        for row, text, encoding in zip(rows, texts, encoded, strict=True):
            ids = [self.start, *encoding.ids, self.end]
            if len(ids) > self.context_length:
                raise ProviderError(
                    f"{self.where}: expected a text of at most {self.context_length - 2} tokens, "
                    f"got {len(ids) - 2} ({text[:60]!r}...). Shorten the text."
                )
            row[: len(ids)] = ids
        return rows
