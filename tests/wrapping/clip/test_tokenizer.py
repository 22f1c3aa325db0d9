"""The tokeniser against a naive one written from the description, and wrong vocabularies."""

from __future__ import annotations

import gzip
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from dafm_core.errors import ProviderError
from dafm_core.wrapping.clip.tokenizer import (
    _PIECES,
    ClipTokenizer,
    byte_symbols,
    clean,
    read_merges,
)

Merges = list[tuple[str, str]]


@pytest.fixture(scope="module")
def merges(vocabulary: str) -> Merges:
    return read_merges(vocabulary, "toy")


def byte_order() -> list[int]:
    themselves = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return themselves + [b for b in range(256) if b not in themselves]


def naive_ids(piece: str, ranks: dict[tuple[str, str], int], vocab: dict[str, int]) -> list[int]:
    if piece in ("<|startoftext|>", "<|endoftext|>"):
        return [vocab[piece]]
    symbol = dict(zip(byte_order(), byte_symbols(), strict=True))
    word = [symbol[b] for b in piece.encode()]
    word[-1] += "</w>"
    while pairs := [p for p in pairwise(word) if p in ranks]:
        best, merged = min(pairs, key=ranks.__getitem__), list[str]()
        while word:
            if tuple(word[:2]) == best:
                merged.append(word.pop(0) + word.pop(0))
            else:
                merged.append(word.pop(0))
        word = merged
    return [vocab[w] for w in word]


def test_ids_are_those_of_the_naive_algorithm(merges: Merges) -> None:
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    base = byte_symbols()
    tokens = [*base, *(s + "</w>" for s in base), *(a + b for a, b in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: index for index, token in enumerate(tokens)}
    assert len(vocab) == 49_408
    rng = random.Random(0)
    parts = [
        "dog",
        "it's",
        "ＲＥＤ",
        "cafÃ©",
        "15",
        "½",
        "<|endoftext|>",
        "ſ",
        "'ſ",
        "'S",
        "!?",
        " ",
    ]
    parts += [
        "&amp;amp;",
        "<3",
        "ﬁne",
        "日本",
        "İ",
        "ΟΔΟΣ",
        "e\u0301",
        "\t",
        "-",
        "hello",
        "Ω",
        "🙂",
    ]
    texts = ["".join(rng.choices(parts, k=rng.randrange(8))) for _ in range(200)]
    rows = ClipTokenizer(merges, context_length=200, where="toy").ids(texts)
    for text, row in zip(texts, rows, strict=True):
        ids = [i for piece in _PIECES.findall(clean(text)) for i in naive_ids(piece, ranks, vocab)]
        expected = np.zeros(200, np.int64)
        expected[: len(ids) + 2] = [49406, *ids, 49407]
        np.testing.assert_array_equal(row, expected, err_msg=repr(text))


def test_exactly_the_context_is_legal_and_one_more_is_not(merges: Merges) -> None:
    tokenizer = ClipTokenizer(merges, context_length=77, where="toy")
    assert tokenizer.ids(["red " * 75])[0, 76] == 49407
    with pytest.raises(ProviderError, match="at most 75 tokens, got 76"):
        tokenizer.ids(["fine", "red " * 76])


def test_text_files_folders_and_line_ends_are_accepted(
    merges: Merges, vocabulary: str, tmp_path: Path
) -> None:
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (tmp_path / "merges.txt").write_bytes("\r\n".join(lines).encode())
    assert read_merges(str(tmp_path), "x") == merges
    assert read_merges(str(tmp_path / "merges.txt"), "x") == merges


def test_wrong_vocabularies_are_one_line_that_names_them(merges: Merges, tmp_path: Path) -> None:
    lines = ["#version", *(" ".join(pair) for pair in merges)]
    swapped = [*lines[:5], lines[6], lines[5], *lines[7:]]
    wrong = {
        "short.txt": "\n".join(lines[:40_000]).encode(),
        "words.txt": "\n".join(["[PAD]", "[UNK]", "the"] * 10_000).encode(),
        "swapped.txt": "\n".join(swapped).encode(),
        "cut.gz": gzip.compress("\n".join(lines).encode())[:5000],
        "bytes.txt": b"\xff\xfe" * 99,
    }
    for name, content in wrong.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    for name in (*wrong, "folder", "absent.txt"):
        with pytest.raises(ProviderError, match="vocabulary") as caught:
            read_merges(str(tmp_path / name), "toy")
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)
