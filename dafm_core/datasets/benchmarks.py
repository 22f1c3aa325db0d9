"""What a benchmark wants beyond its protocol: the files of its test server, the table of its paper.

One record per benchmark, looked up by a protocol's name. Reading a benchmark's annotation files is
done in the module of its dataset; writing and checking its submission files in ``formats/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from dafm_core.errors import OptionError, SubmissionError, closest


@dataclass(frozen=True, kw_only=True)
class ServerFile:
    """One file that a test server takes.

    Parameters
    ----------
    name : str
        File name, as the server's documentation calls it.
    metric : str or None
        Value of the file's key ``metric``; None where the file has no such key.
    depth : int
        Candidates per query, where there are as many.
    decides : tuple of str
        Families of the metrics that such a file decides up to its depth: ``("recall", "map")``.
    within_subset : bool
        Whether it ranks each query's subset instead of the gallery.
    """

    name: str
    metric: str | None = None
    depth: int
    decides: tuple[str, ...]
    within_subset: bool = False


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What a test server or a paper wants of one benchmark.

    Parameters
    ----------
    name : str
        First word of its protocols: ``cirr`` of ``cirr-val``.
    files : tuple of ServerFile
        Empty where there is no test server.
    header : mapping of str
        Keys that stand beside the queries in every file, with their value.
    id_type : {str, int}
        How image ids stand in a file. Ids in dafm are always strings.
    max_bytes : int
        The server takes smaller files only.
    families : tuple of str
        Datasets of one benchmark whose results the literature averages: FashionIQ's categories.
    family_metrics : tuple of str
        Metrics shown for each family and averaged over them.
    family_mean : str or None
        The metric whose average over the families is the benchmark's headline.

    Examples
    --------
    >>> Benchmark.of("cirr-test1").file("recall_subset").depth
    3
    >>> fashioniq = Benchmark.of("fashioniq-dress-val-original")
    >>> fashioniq.family("fashioniq-dress-val-original")
    'dress'
    >>> fashioniq.across_families("fashioniq-dress-val-original")
    'fashioniq-*-val-original'
    """

    name: str
    files: tuple[ServerFile, ...] = ()
    header: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    id_type: type[str] | type[int] = str
    max_bytes: int = 5_000_000
    families: tuple[str, ...] = ()
    family_metrics: tuple[str, ...] = ()
    family_mean: str | None = None

    @staticmethod
    def of(protocol: str) -> Benchmark:
        """Return the record of a protocol's benchmark.

        A protocol of no known benchmark gets a record without files and families.
        """
        name = protocol.partition("-")[0]
        return BENCHMARKS.get(name, Benchmark(name=name))

    @staticmethod
    def with_server(protocol: str) -> Benchmark:
        """Return the record of a protocol's benchmark, which has a test server.

        Raises
        ------
        SubmissionError
            If it has none.
        """
        benchmark = Benchmark.of(protocol)
        if not benchmark.files:
            raise SubmissionError(
                f"submit: {protocol} has no test server. Use a split of {' or '.join(SERVERS)}."
            )
        return benchmark

    def file(self, metric: str | None) -> ServerFile:
        """Return the file for a metric of the server.

        Raises
        ------
        OptionError
            If the server takes no such file.
        """
        for file in self.files:
            if file.metric == metric:
                return file
        raise OptionError(
            f"submit: {self.name} metric {metric!r}{closest(str(metric), self.server_metrics)}"
        )

    def image_id(self, value: str | int) -> str:
        """Return the image id that a server takes a value of a file for.

        Where ids are numbers, ``"007"`` is read as 7.
        """
        is_number = self.id_type is int and isinstance(value, str) and value.isdecimal()
        return str(int(value)) if is_number else str(value)

    @property
    def server_metrics(self) -> tuple[str, ...]:
        """Values that the key ``metric`` may have; empty where files have no such key."""
        return tuple(file.metric for file in self.files if file.metric is not None)

    @property
    def header_keys(self) -> frozenset[str]:
        """Keys of a file that are not queries."""
        return frozenset({*self.header, *(("metric",) if self.server_metrics else ())})

    def family(self, protocol: str) -> str:
        """Return the family that a protocol belongs to, or an empty string where there is none."""
        words = protocol.split("-")[1:]
        return next((family for family in self.families if family in words), "")

    def across_families(self, protocol: str) -> str:
        """Return the protocol's name with ``*`` for its family: equal for what may be averaged."""
        family = self.family(protocol)
        return "-".join("*" if family and word == family else word for word in protocol.split("-"))


_CIRR: Final = Benchmark(
    name="cirr",
    header=MappingProxyType({"version": "rc2"}),
    files=(
        ServerFile(
            name="recall.json", metric="recall", depth=50, decides=("recall", "hit", "map", "first")
        ),
        ServerFile(
            name="recall_subset.json",
            metric="recall_subset",
            depth=3,
            decides=("rsubset",),
            within_subset=True,
        ),
    ),
)
_CIRCO: Final = Benchmark(
    name="circo",
    id_type=int,
    files=(ServerFile(name="circo.json", depth=50, decides=("recall", "hit", "map", "first")),),
)
_FASHIONIQ: Final = Benchmark(
    name="fashioniq",
    families=("dress", "shirt", "toptee"),
    family_metrics=("recall@10", "recall@50"),
    family_mean="rmean-fashioniq",
)
BENCHMARKS: Final[Mapping[str, Benchmark]] = MappingProxyType(
    {benchmark.name: benchmark for benchmark in (_CIRR, _CIRCO, _FASHIONIQ)}
)
"""Every known benchmark by its name."""
SERVERS: Final = tuple(name for name, benchmark in BENCHMARKS.items() if benchmark.files)
"""Names of the benchmarks with a test server that takes files."""
