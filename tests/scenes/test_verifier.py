"""The toy verifier is a pair provider like any other."""

from dafm_core.contract.provider import is_pair
from dafm_core.scenes.dataset import load
from dafm_core.scenes.verifier import VerifierProvider
from dafm_core.testing import ProviderSample, check_provider


def test_it_holds_to_the_laws_of_pair_providers():
    assert is_pair(VerifierProvider())
    sample = ProviderSample.of_dataset(load(families=2), n_queries=4)
    results = check_provider(VerifierProvider(), sample)
    assert [result for result in results if result.outcome == "failed"] == []
    assert sum(result.outcome == "passed" for result in results) >= 10
