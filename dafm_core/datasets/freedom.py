"""Domain conversion as FreeDom evaluates it: the same class in another domain, on four sets.

Queries are made by a rule, not listed: each query image with the word of every domain other than
its own. Relevant are images of the same class in that domain; nothing is excluded, not even the
query image where it is in the gallery, which in a wrong domain is never relevant.

Reads the files of the authors' repository below its ``data/``: ``*_files.csv``, separated by blanks
in spite of the name, with path, domain and class; for ImageNet-R also ``imgnet_targets.txt``, with
path and a code. The benchmark's AVG is the mean over pairs of domains, which are the tags: not the
mean over queries.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.datasets.reading import choose, image_folder, inside
from dafm_core.errors import DatasetError, OptionError, closest
from dafm_core.ground.ids import Ids
from dafm_core.ground.sources import source_text

SETS: Final = {
    "imagenet-r": "imagenet_r",
    "mini-domainnet": "minidn",
    "nico": "nico",
    "ltll": "ltll",
}
"""Folder of each set below ``data/``."""
WORDS: Final = {"real": "photo", "dim": "dimlight", "New": "Today", "Old": "Archive"}
"""What a query calls a domain, where that is not its name."""
CODES: Final = ("cartoon", "origami", "toy", "sculpture")
"""Domains of ImageNet-R by the thousands of a code; higher ones are real."""
METRICS: Final = {
    "imagenet-r": (10, 50),
    "mini-domainnet": (50, 100),
    "nico": (50, 100),
    "ltll": (5, 10),
}
"""Depths of recall that are published of each set."""
NOTHING: Final = "no image of the class and domain"
"""The target of a query that has none: never retrieved, so that it counts 0, as published."""


class Image(NamedTuple):
    """A row of a list of files."""

    path: str
    domain: str
    label: str


def load(
    path: str | Path,
    *,
    set: str,  # noqa: A002  # the word that users know
    split: str | None = None,
    source: str | None = None,
    images: str | Path | None = None,
) -> Dataset:
    """Read one of the four sets.

    Parameters
    ----------
    path : path
        The folder ``data`` of the authors' repository, or the one that holds it.
    set : {"imagenet-r", "mini-domainnet", "nico", "ltll"}
    split : None
        There is one split.
    source : str, optional
        Only queries whose image is of this domain: a protocol of its own. Rows of all queries of
        NICO++ fill 14 GB, those of ImageNet-R 5 GB.
    images : path, optional
        Folder that the paths start from; by default that of the lists' folder.

    Returns
    -------
    Dataset
        Protocol ``freedom-SET`` or ``freedom-SET-SOURCE``; ids are paths; the group is the class,
        the tag ``SOURCE to TARGET``.

    Raises
    ------
    DatasetError
        If a file is missing or malformed; the message names file and line.
    OptionError
        For an unknown choice.

    References
    ----------
    Efthymiadis et al., Composed Image Retrieval for Training-Free Domain Conversion, WACV 2025,
    arXiv 2412.03297.
    """
    choose(set, tuple(SETS), where="freedom: option 'set'")
    data = Path(path) / "data" if (Path(path) / "data").is_dir() else Path(path)
    if split is not None:
        raise DatasetError(f"{data}: FreeDom's sets have no splits, got split {split!r}.")
    asked, listed = _lists(data / SETS[set])
    domains = sorted({image.domain for image in listed})
    if source is not None and source not in domains:
        raise OptionError(f"freedom: option 'source': no {source!r}{closest(source, domains)}")
    members: dict[tuple[str, str], list[str]] = defaultdict(list)
    for image in listed:
        members[image.label, image.domain].append(image.path)
    rows = [
        {
            "query_id": f"{image.path}:{target}",
            "reference": image.path,
            "text": WORDS.get(target, target),
            "group": image.label,
            "targets": members.get((image.label, target)) or [NOTHING],
            "tags": [f"{image.domain} to {target}"],
        }
        for image in asked
        if source in (None, image.domain)
        for target in domains
        if target != image.domain
    ]
    gallery = Ids(image.path for image in listed)
    root = image_folder(images, (data,), below=SETS[set], where="freedom")
    named = dict.fromkeys([*gallery, *(image.path for image in asked)])
    return Dataset(
        protocol=f"freedom-{set}" + ("" if source is None else f"-{source.lower()}"),
        gallery_ids=gallery,
        queries=query_frame(rows, where=str(data / SETS[set])),
        images={} if root is None else {i: inside(root, i, where="freedom") for i in named},
        metrics=("map-trapezoid", *(f"recall@{k}" for k in METRICS[set])),
    )


def _lists(folder: Path) -> tuple[list[Image], list[Image]]:
    """Return the query images and the gallery, which some sets have in one list."""
    if (folder / "full_files.csv").exists():
        both = _files(folder / "full_files.csv")
        return both, both
    if folder.name == SETS["imagenet-r"]:
        both = _coded(folder / "imgnet_targets.txt")
        return both, both
    return _files(folder / "query_files.csv"), _files(folder / "database_files.csv")


def _files(path: Path) -> list[Image]:
    return [Image(*cells) for cells in _cells(path, 3, "path, domain and class")]


def _coded(path: Path) -> list[Image]:
    """Return ImageNet-R as published: a class is the folder's WordNet id, a domain a code."""
    images = []
    for name, code in _cells(path, 2, "path and code"):
        if not code.isdecimal():
            raise DatasetError(f"{path}: expected a number as the code of {name}, got {code!r}.")
        domain = dict(enumerate(CODES)).get(int(code) // 1000, "real")
        if name.startswith("imgnet"):  # as the authors' own set-up renames the folder
            name = SETS["imagenet-r"] + name.removeprefix("imgnet")
        images.append(Image(name, domain, PurePosixPath(name).parent.name))
    return images


def _cells(path: Path, n_cells: int, what: str) -> list[list[str]]:
    try:
        lines = source_text(path).split("\n")
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file. Check the dataset's path and set.") from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: expected a text file ({error}).") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        cells = line.split()
        if cells and len(cells) != n_cells:
            raise DatasetError(
                f"{path}: line {number}: expected {what} between blanks, got {line[:60]!r}."
            )
        if cells:
            rows.append(cells)
    return rows
