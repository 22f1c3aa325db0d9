"""What a reader cannot see is written out."""

import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from dafm_core.ground.printable import printable, printable_json

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
texts = st.text(st.characters(exclude_categories=())) | st.text("a\x1b\r\n\t\x9b" + BIDI)


@given(texts)
def test_nothing_hidden_is_left_and_the_rest_is_untouched(text):
    shown = printable(text)
    assert not any(unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} for c in shown)
    assert not set(shown) & set(BIDI)
    shown.encode("utf-8")
    assert printable(shown) == shown
    if text.isprintable():
        assert shown == text


def test_words_and_emoji_that_need_joiners_keep_them():
    for text in ("کتاب‌ها", "👩‍🔬", "كلب أحمر", "赤い犬", "[bold]not markup[/bold]"):
        assert printable(text) == text


@given(st.dictionaries(texts, st.lists(texts | st.integers() | st.none())))
def test_json_keeps_its_value(value):
    for indent in (None, 1):
        shown = printable_json(json.dumps(value, ensure_ascii=False, indent=indent))
        assert json.loads(shown) == value
        assert not any(unicodedata.category(c) in {"Cc", "Cs"} for c in shown if c != "\n")
        assert not set(shown) & set(BIDI)
