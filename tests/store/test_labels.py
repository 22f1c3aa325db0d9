"""Labels kept with a store: added to, taken back, never two alike, and never a reason to fail."""

import pytest

from dafm_core.errors import DatasetError, OptionError, StoreError
from dafm_core.store.labels import keep_labels, kept_labels


def test_labels_are_kept_added_to_and_taken_back(tmp_path):
    assert kept_labels(tmp_path) == {}
    keep_labels(tmp_path, {"clip4cir": "CLIP4CIR", "sprc": "SPRC"})
    assert keep_labels(tmp_path, {"sprc": "", "light": "Ours"}) == kept_labels(tmp_path)
    assert kept_labels(tmp_path) == {"clip4cir": "CLIP4CIR", "light": "Ours"}


def test_two_names_are_never_called_the_same(tmp_path):
    keep_labels(tmp_path, {"a": "Model"})
    with pytest.raises(OptionError, match="'Model' is what a is called"):
        keep_labels(tmp_path, {"b": "Model"})
    assert kept_labels(tmp_path) == {"a": "Model"}


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}'])
def test_a_damaged_file_is_one_line(tmp_path, text):
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(StoreError, match=r"damaged file .* Remove it"):
        kept_labels(tmp_path)


@pytest.mark.parametrize("content", ["[" * 100_000, "[1]", "{", '{"a": 1}'])
def test_a_damaged_file_of_labels_is_one_line(tmp_path, content):
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(StoreError) as caught:
        kept_labels(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_label_that_no_file_can_hold_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"--label sprc: .*surrogate"):
        keep_labels(tmp_path, {"sprc": "\udcff"})
    assert kept_labels(tmp_path) == {}
