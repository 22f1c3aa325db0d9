"""A vocabulary is read from a file or a folder in either form, and every wrong one is named."""

import json
from pathlib import Path

import pytest

from dafm_core.errors import ProviderError
from dafm_core.wrapping.wordpiece import SIZE, SPECIALS, read_wordpiece

TOKENS = {**{f"token{i}": i for i in range(SIZE)}, **SPECIALS}
BY_INDEX = sorted({index: token for token, index in TOKENS.items()}.items())
LINES = [token for _, token in BY_INDEX]
VOCAB = {token: index for index, token in BY_INDEX}


@pytest.fixture
def vocab_file(tmp_path: Path) -> Path:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return path


def test_file_and_folder_agree(vocab_file: Path) -> None:
    assert read_wordpiece(str(vocab_file), "sprc") == VOCAB
    assert read_wordpiece(str(vocab_file.parent), "sprc") == VOCAB


def test_windows_line_ends_change_nothing(vocab_file: Path) -> None:
    vocab_file.write_bytes("\r\n".join(LINES).encode())
    assert read_wordpiece(str(vocab_file), "sprc") == VOCAB


def test_folder_as_transformers_saves_it(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": VOCAB}}))
    assert read_wordpiece(str(tmp_path), "sprc") == VOCAB


def test_wrong_size_is_named(vocab_file: Path) -> None:
    vocab_file.write_text("\n".join(LINES[:-1]) + "\n")
    with pytest.raises(ProviderError, match=r"^sprc: vocabulary: expected 30522 tokens, got 30521"):
        read_wordpiece(str(vocab_file), "sprc")


def test_another_order_is_named(vocab_file: Path) -> None:
    vocab_file.write_text("\n".join(reversed(LINES)))
    with pytest.raises(ProviderError, match="order of bert-base-uncased"):
        read_wordpiece(str(vocab_file), "sprc")


@pytest.mark.parametrize("content", ["[]", "{", '{"model": 3}', '{"model": {"vocab": [1]}}'])
def test_other_json_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ProviderError, match=r"tokenizer\.json is not a WordPiece vocabulary"):
        read_wordpiece(str(tmp_path), "sprc")


def test_bytes_that_are_no_text_are_named(vocab_file: Path) -> None:
    vocab_file.write_bytes(b"\x80\xff\x00")
    with pytest.raises(ProviderError, match="is not a WordPiece vocabulary"):
        read_wordpiece(str(vocab_file), "sprc")


@pytest.mark.parametrize("name", ["missing/vocab.txt", "./missing", "/missing"])
def test_a_path_that_does_not_exist_is_not_looked_up_as_a_name(name: str) -> None:
    with pytest.raises(ProviderError, match="does not exist"):
        read_wordpiece(name, "sprc")


def test_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="got neither"):
        read_wordpiece(str(tmp_path), "sprc")
