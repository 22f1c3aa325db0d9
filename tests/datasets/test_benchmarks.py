"""Records of benchmarks: what servers and papers document, found by a protocol's name."""

import pytest

from dafm_core.datasets import fashioniq
from dafm_core.datasets.benchmarks import BENCHMARKS, SERVERS, Benchmark
from dafm_core.errors import OptionError, SubmissionError
from dafm_core.metrics.spec import parse_metric


def test_what_the_servers_document():
    """CIRR's Test-split_server.md and CIRCO's Submission Format."""
    cirr, circo = Benchmark.of("cirr-test1"), Benchmark.of("circo-test")
    assert {file.metric: file.depth for file in cirr.files} == {"recall": 50, "recall_subset": 3}
    assert (dict(cirr.header), cirr.header_keys) == ({"version": "rc2"}, {"version", "metric"})
    assert [(file.metric, file.depth) for file in circo.files] == [(None, 50)]
    assert (circo.header_keys, circo.id_type, cirr.id_type) == (frozenset(), int, str)
    assert SERVERS == ("cirr", "circo")


@pytest.mark.parametrize(
    ("protocol", "family", "across"),
    [
        ("fashioniq-dress-val-original", "dress", "fashioniq-*-val-original"),
        ("fashioniq-toptee-val-union-bank-train", "toptee", "fashioniq-*-val-union-bank-train"),
        ("cirr-val", "", "cirr-val"),
        ("dress-val", "", "dress-val"),
    ],
)
def test_the_family_of_a_protocol(protocol, family, across):
    benchmark = Benchmark.of(protocol)
    assert benchmark.family(protocol) == family
    assert benchmark.across_families(protocol) == across


def test_families_and_metrics_are_those_of_the_dataset():
    record = BENCHMARKS["fashioniq"]
    assert record.families == fashioniq.CATEGORIES
    assert {*record.family_metrics, record.family_mean} <= set(fashioniq.METRICS)
    for benchmark in BENCHMARKS.values():
        for file in benchmark.files:
            for family in file.decides:
                needs = parse_metric(f"{family}@1").needs
                assert ("subset" in needs) == file.within_subset


def test_protocols_without_a_server():
    assert Benchmark.of("scenes-val").files == ()
    with pytest.raises(SubmissionError, match="scenes-val has no test server"):
        Benchmark.with_server("scenes-val")
    with pytest.raises(OptionError, match="cirr metric 'recal'; did you mean 'recall'"):
        Benchmark.with_server("cirr-val").file("recal")
