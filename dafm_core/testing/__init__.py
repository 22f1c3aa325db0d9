"""Conformance checks of plugins: for their tests, core's own and ``dafm check``.

``results.py`` says what a check is and counts what ran, ``samples.py`` what checks run on,
``descriptions.py``, ``providers.py``, ``pairs.py``, ``images.py``, ``recall.py``, ``fusers.py``
and ``datasets.py`` hold the checks. Nothing here imports
pytest; a plugin's tests parametrise over the checks:

    @pytest.mark.parametrize("check", provider_checks(), ids=str)
    def test_conformance(check, provider, tmp_path):
        check(provider, ProviderSample.draw(tmp_path))
"""

from dafm_core.testing.datasets import DatasetSubject, check_dataset, dataset_checks
from dafm_core.testing.descriptions import check_description, description_checks
from dafm_core.testing.fusers import check_fuser, fuser_checks
from dafm_core.testing.pairs import pair_checks
from dafm_core.testing.providers import check_provider, provider_checks
from dafm_core.testing.recall import check_recall
from dafm_core.testing.results import Check, CheckFailed, CheckResult, NotApplicable, summarize
from dafm_core.testing.samples import FuserSubject, ProviderSample, queries_of

__all__ = [
    "Check",
    "CheckFailed",
    "CheckResult",
    "DatasetSubject",
    "FuserSubject",
    "NotApplicable",
    "ProviderSample",
    "check_dataset",
    "check_description",
    "check_fuser",
    "check_provider",
    "check_recall",
    "dataset_checks",
    "description_checks",
    "fuser_checks",
    "pair_checks",
    "provider_checks",
    "queries_of",
    "summarize",
]
