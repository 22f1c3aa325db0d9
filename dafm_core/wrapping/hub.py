"""A name on the Hugging Face hub becomes a commit before anything is downloaded.

So the passport says which weights were used, and a name that does not exist is known after one
request. What is done with the files is each plugin's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dafm_core.errors import ProviderError
from dafm_core.ground.printable import first_line

_SMALL_FILES = ("config.json", "modules.json", "config_sentence_transformers.json")
"""Files of which every model has at least one."""


@dataclass(frozen=True)
class Pinned:
    """A model on the hub, at one commit.

    Parameters
    ----------
    name : str
    commit : str or None
        None where the hub states none.
    is_cached : bool
        Whether the hub could not be reached, so that only the local copy is looked at.
    """

    name: str
    commit: str | None
    is_cached: bool = False


def pin(name: str, revision: str | None, where: str) -> Pinned:
    """Return the commit that a revision of a model stands for; the newest by default.

    Raises
    ------
    ProviderError
        If there is no such name or revision, it is not for everyone, or neither the hub nor a local
        copy is to be had.
    """
    from huggingface_hub import HfApi, errors

    try:
        return Pinned(name, HfApi().model_info(name, revision=revision, timeout=10).sha)
    except errors.GatedRepoError:
        raise ProviderError(
            f"{where}: {name!r} is gated. Accept its terms on its page, then hf auth login."
        ) from None
    except errors.RevisionNotFoundError:
        raise ProviderError(
            f"{where}: option 'revision': {name!r} has no {revision!r}. Give a commit of its page."
        ) from None
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise ProviderError(
            f"{where}: no model {name!r} on the hub, and no such folder. Check the name, or log in "
            "where it is private."
        ) from None
    except Exception as error:  # no network, a proxy, a server in trouble
        commit = _cached_commit(name, revision)
        if commit is None:
            raise ProviderError(
                f"{where}: {name!r} is not in the local cache, and the hub cannot be reached "
                f"({type(error).__name__}: {first_line(error)[:160]}). Give a folder as "
                "--set model=FOLDER."
            ) from error
        return Pinned(name, commit, is_cached=True)


def _cached_commit(name: str, revision: str | None) -> str | None:
    """Return the commit of a local copy: the folder that its files lie in is named after it."""
    from huggingface_hub import try_to_load_from_cache

    for file in _SMALL_FILES:
        found = try_to_load_from_cache(name, file, revision=revision)
        if isinstance(found, str):
            below = Path(found).parts
            return below[below.index("snapshots") + 1]
    return None
