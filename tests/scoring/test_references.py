"""A provider is asked only about queries that it can take; others are refused before any score."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dafm_core.catalog import PluginCatalog
from dafm_core.contract.descriptions import ProviderInfo
from dafm_core.contract.hookspecs import hookimpl
from dafm_core.errors import DatasetError, ProviderError
from dafm_core.scoring.score import score


class Counting:
    """A row provider that scores by the number of references, and remembers how often."""

    name = "counting"
    n_calls = 0

    def similarity(self, queries, gallery):
        self.n_calls += 1
        counts = [[len(query.references)] * len(gallery) for query in queries]
        return np.array(counts, np.float32)


@pytest.fixture
def mixed(dataset):
    """Query q3 has no reference, q7 has two."""
    references = dataset.queries["references"].to_list()
    references[3], references[7] = [], ["img1", "img2"]
    series = pl.Series("references", references, dtype=pl.List(pl.String))
    return replace(dataset, queries=dataset.queries.with_columns(series))


def test_a_provider_of_one_reference_is_refused_before_the_first_score(mixed, tmp_path):
    provider = Counting()
    with pytest.raises(DatasetError) as error:
        score(mixed, [provider], store=tmp_path / "store")
    assert "provider 'counting'" in str(error.value)
    assert "got 0 for query 'q3' (2 of 12 queries have none or several)" in str(error.value)
    assert provider.n_calls == 0
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("references", ["any", "none"])
def test_a_provider_of_any_number_gets_every_query(mixed, tmp_path, references):
    provider = Counting()
    provider.references = references
    stack = score(mixed, [provider], store=tmp_path / "store")
    expected = [1.0] * 12
    expected[3], expected[7] = 0.0, 2.0
    assert stack.matrices[0][:, 0].tolist() == expected


@pytest.mark.parametrize(("stated", "is_taken"), [("one", False), ("any", True), ("none", True)])
def test_the_description_of_a_registered_provider_counts(mixed, tmp_path, stated, is_taken):
    class Plugin:
        @hookimpl
        def dafm_similarity_providers(self):
            info = ProviderInfo(name="own", summary="", factory=Counting, references=stated)
            return [info]

    catalog = PluginCatalog()
    catalog.register(Plugin(), name="own")
    if is_taken:
        assert score(mixed, ["own"], store=tmp_path / "s", catalog=catalog).names == ("own",)
    else:
        with pytest.raises(DatasetError, match="provider 'own': expected exactly one reference"):
            score(mixed, {"own": {}}, store=tmp_path / "s", catalog=catalog)


def test_a_wrong_word_is_refused(dataset, tmp_path):
    provider = Counting()
    provider.references = "two"
    with pytest.raises(ProviderError, match="expected references to be one or any or none"):
        score(dataset, [provider], store=tmp_path / "s")
