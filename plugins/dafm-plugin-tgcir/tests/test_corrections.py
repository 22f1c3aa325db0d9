"""FashionIQ's clean-up, from raw captions to the recorded texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dafm_plugin_tgcir.corrections import clean_caption, read_corrections

from dafm_core.errors import OptionError


def test_raw_captions_become_the_recorded_texts(case: dict[str, Any]) -> None:
    queries = [q for q in case["queries"] if q["dataset"] == "fashioniq"]
    assert len(queries) > 3
    for query in queries:
        text = clean_caption(" and ".join(query["captions"]), case["correction_dict"])
        assert text == query["text"]


def test_corrections_replace_whole_words_once() -> None:
    words = {"a": "b", "b": "c", "strapless": "without straps"}
    assert clean_caption("A b-strapless, ab", words) == "b c without straps ab"
    assert clean_caption("  ", words) == ""
    assert clean_caption("it’s Ｏk！", {}) == "it’s ｏk！"  # only ASCII punctuation goes


def test_wrong_files_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "deep.json").write_text(json.dumps({"a": {"b": "c"}}))
    (tmp_path / "text.json").write_text("no json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xff")
    for name in ("list.json", "deep.json", "text.json", "bytes.json", "absent.json"):
        with pytest.raises(OptionError, match="tgcir: corrections") as caught:
            read_corrections(tmp_path / name, "tgcir")
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
