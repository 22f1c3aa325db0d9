"""A fitted fuser as a folder: ``fuser.json`` and ``weights.safetensors``.

Reading executes nothing from the folder: the class comes from a catalog of registered fusers, the
arrays from safetensors, the rest from JSON. Whether the fuser fits a stack (same providers, same
checkpoints) is checked when it is used.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from dafm_core.catalog import PluginCatalog, resolve
from dafm_core.contract.descriptions import FuserInfo
from dafm_core.errors import FuserError, closest
from dafm_core.fusion.base import Fuser
from dafm_core.fusion.record import FitRecord
from dafm_core.ground.files import replacing, sha256_of, write_json
from dafm_core.ground.printable import first_line
from dafm_core.ground.sources import source_json
from dafm_core.store.manifest import SEAL, sealed

FORMAT_VERSION: Final = 4
READABLE: Final = (2, 3, 4)
"""Before 3 a fusion had one head, before 4 its facts had no seal."""
SEALED_FROM: Final = 4
FACTS: Final = "fuser.json"
WEIGHTS: Final = "weights.safetensors"
NEXT_WEIGHTS: Final = "weights.next.safetensors"
"""Weights under the name they have until the facts that hash them are written."""


def save_fuser(fuser: Fuser, path: str | Path, *, infos: Iterable[FuserInfo] | None = None) -> Path:
    """Write a fitted fuser into a folder, and return the folder.

    Parameters
    ----------
    fuser : Fuser
    path : str or Path
        Created if missing; a fuser that is already there is replaced.
    infos : iterable of FuserInfo, optional
        Registered fusers; by default core's and those of every installed plugin.

    Raises
    ------
    FuserError
        If the fuser is not fitted, or its class is not registered.

    Notes
    -----
    Of a fuser that has chosen among several, the one chosen is written, and how it was chosen.
    """
    choice, fuser = fuser.choice_, fuser.deployed
    where = type(fuser).__name__
    if not fuser.is_fitted:
        raise FuserError(f"{where}: not fitted. Call fit(stack) before saving.")
    home = type(fuser).__module__  # tried first, so that nothing else need be imported
    candidates = sorted(_infos(infos), key=lambda info: home not in str(info.factory))
    info = next((info for info in candidates if _class_of(info) is type(fuser)), None)
    if info is None:
        raise FuserError(
            f"{where}: no registered fuser makes this class, so it could not be loaded again. "
            "Describe it through the hook dafm_fusers."
        )
    arrays, values = fuser.get_state()
    facts = {
        "format_version": FORMAT_VERSION,
        "fuser": info.name,
        "class": where,
        "params": fuser.params(),
        "record": fuser.record_.to_json(),
        "choice": choice,
        "values": values,
    }
    folder = Path(path)
    _settle(folder)
    with replacing(folder / NEXT_WEIGHTS) as temporary:
        save_file({name: array.copy(order="C") for name, array in arrays.items()}, temporary)
    facts["weights_sha256"] = sha256_of(folder / NEXT_WEIGHTS)
    facts = sealed(json.loads(json.dumps(facts)))
    write_json(folder / FACTS, facts)  # before it the folder is the old fuser, from here the new
    (folder / NEXT_WEIGHTS).replace(folder / WEIGHTS)
    return folder


def load_fuser(path: str | Path, *, infos: Iterable[FuserInfo] | None = None) -> Fuser:
    """Return the fuser that ``save_fuser`` wrote; parameters as there.

    Raises
    ------
    FuserError
        If the folder holds none, a damaged one, one of a newer format, or one whose fuser is not
        registered here.
    """
    folder = Path(path)
    facts = _read_facts(folder)
    name = facts["fuser"]
    known = {info.name: info for info in infos or ()}
    if infos is None:  # core's own are known without looking at what else is installed
        known = PluginCatalog.core().fusers
        known = known if name in known else PluginCatalog.discover().fusers
    if name not in known:
        raise FuserError(
            f"{folder}: fuser {name!r} is not registered{closest(str(name), known)}. "
            "Install the plugin it comes from."
        )
    weights = _weights_of(folder, facts)
    if weights is None:
        raise FuserError(
            f"{folder}: {WEIGHTS} is not the one that {FACTS} was written with. Train it again."
        )
    build = _class_of(known[name])
    if build.__name__ != facts["class"]:
        raise FuserError(
            f"{folder}: expected a {build.__name__}, as {name!r} is here, got {facts['class']!r}. "
            "Install the release that saved it."
        )
    try:
        fuser = build(**facts["params"])
        fuser.record_ = FitRecord.from_json(facts["record"])
        fuser.set_state(load_file(weights), facts["values"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _damaged(folder, error) from error
    return fuser


def _weights_of(folder: Path, facts: dict[str, Any]) -> Path | None:
    """Return the file of weights that the facts were written with, or None."""
    for path in (folder / WEIGHTS, folder / NEXT_WEIGHTS):  # the second after a kill
        try:
            if sha256_of(path) == facts["weights_sha256"]:
                return path
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _damaged(folder, error) from error
    return None


def _settle(folder: Path) -> None:
    """Name the weights of a save that was killed after its facts were written."""
    try:
        weights = _weights_of(folder, _read_facts(folder))
    except FuserError:
        return  # nothing that could be read: it is replaced
    if weights == folder / NEXT_WEIGHTS:
        weights.replace(folder / WEIGHTS)


def _infos(infos: Iterable[FuserInfo] | None) -> list[FuserInfo]:
    return list(PluginCatalog.discover().fusers.values() if infos is None else infos)


def _class_of(info: FuserInfo) -> type[Fuser]:
    return type(resolve(info.factory, where=f"fuser {info.name!r}")())


def _read_facts(folder: Path) -> dict[str, Any]:
    try:
        facts = source_json(folder / FACTS)
        version = facts["format_version"]
        missing = {"fuser", "class", "params", "weights_sha256"} - facts.keys()
    except FileNotFoundError:
        raise FuserError(
            f"{folder}: expected a folder written by dafm train, found no {FACTS}."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder, error) from error
    if version not in READABLE:
        newer = isinstance(version, int) and version > FORMAT_VERSION
        raise FuserError(
            f"{folder}: expected format {FORMAT_VERSION}, got {version!r}. "
            + ("Upgrade dafm-core." if newer else "Train it again.")
        )
    if version >= SEALED_FROM and sealed(facts)[SEAL] != facts.get(SEAL):
        raise FuserError(
            f"{folder}: {FACTS} is not as it was written: it was edited, or is damaged. Train it "
            "again."
        )
    if missing:
        raise _damaged(folder, KeyError(*missing))
    checked: dict[str, Any] = facts
    return checked


def _damaged(folder: Path, error: Exception) -> FuserError:
    cause = f"{type(error).__name__}: {first_line(error)}"
    return FuserError(f"{folder}: the saved fuser cannot be read ({cause}). Train it again.")
