"""The WordPiece vocabulary of bert-base-uncased, from a file, a folder or a model name, checked.

For plugins whose text encoder is a BERT. It stands in core because several need the same check and
a wrong vocabulary raises nothing: every word becomes unknown, and the scores are merely bad. Not
here: the tokeniser itself, which a plugin builds with ``transformers.BertTokenizer(vocab=...)``.
"""

from __future__ import annotations

from pathlib import Path

from dafm_core.errors import ProviderError
from dafm_core.ground.printable import first_line
from dafm_core.ground.sources import parsed_json, source_text

SIZE = 30_522
"""Entries of the bert-base-uncased vocabulary."""

SPECIALS = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}
"""Where its special tokens stand."""

_NEXT = "Give the vocab.txt of bert-base-uncased, its folder, or the model name."


def read_wordpiece(vocabulary: str, where: str) -> dict[str, int]:
    """Return token -> id.

    Parameters
    ----------
    vocabulary : str
        ``vocab.txt`` (one token a line), a folder with ``vocab.txt`` or ``tokenizer.json``, or the
        name of a model on the hub, which needs ``transformers`` and a network or its cache.
    where : str
        Start of every error message: the provider.

    Raises
    ------
    ProviderError
        If there is no such file, or it is not the vocabulary these models were trained with.
    """
    where = f"{where}: vocabulary"
    path = _find(vocabulary, where)
    try:
        text = source_text(path, encoding="utf-8")
        tokens = _from_json(text) if path.suffix == ".json" else _from_lines(text)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise ProviderError(f"{where}: {path} is not a WordPiece vocabulary. {_NEXT}") from None
    if len(tokens) != SIZE:
        raise ProviderError(f"{where}: expected {SIZE} tokens, got {len(tokens)} ({path}). {_NEXT}")
    if sorted(tokens.values()) != list(range(SIZE)) or SPECIALS.items() - tokens.items():
        raise ProviderError(
            f"{where}: expected the order of bert-base-uncased, got another ({path}). {_NEXT}"
        )
    return tokens


def _find(vocabulary: str, where: str) -> Path:
    path = Path(vocabulary).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        for name in ("vocab.txt", "tokenizer.json"):
            if (path / name).is_file():
                return path / name
        raise ProviderError(
            f"{where}: expected vocab.txt or tokenizer.json in {path}, got neither."
        )
    if path.suffix or path.is_absolute() or vocabulary.startswith((".", "~")):
        raise ProviderError(f"{where}: {path} does not exist. {_NEXT}")
    return _from_hub(vocabulary, where)


def _from_hub(name: str, where: str) -> Path:
    from transformers.utils.hub import cached_file

    try:
        return Path(str(cached_file(name, "vocab.txt")))
    except (OSError, ValueError) as error:
        reason = first_line(error)
        raise ProviderError(f"{where}: {name!r} cannot be had ({reason}). {_NEXT}") from None


def _from_lines(text: str) -> dict[str, int]:
    lines = text.removesuffix("\n").split("\n")
    return {line.removesuffix("\r"): index for index, line in enumerate(lines)}


def _from_json(text: str) -> dict[str, int]:
    vocab = parsed_json(text)["model"]["vocab"]
    return {str(token): int(index) for token, index in vocab.items()}
