"""The clean-up of FashionIQ captions that TG-CIR was trained with: punctuation, case, spelling.

The dictionaries are part of the original's repository (GPL) and not shipped: the user names one.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from pathlib import Path

from dafm_core.errors import OptionError
from dafm_core.ground.printable import first_line
from dafm_core.ground.sources import source_json
from dafm_core.wrapping.encoding import Tokenizer, Tokens

_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation, " "))  # ASCII only, as the original


def clean_caption(text: str, corrections: Mapping[str, str]) -> str:
    """Return a caption in lower case, without punctuation, known words replaced once.

    Two captions joined by ``" and "`` become what the original makes of each, joined.

    Examples
    --------
    >>> clean_caption("Has loger sleevs, it's fine.", {"loger": "longer", "sleevs": "sleeves"})
    'has longer sleeves it s fine'
    """
    words = text.lower().translate(_PUNCTUATION).split()
    return " ".join(corrections.get(word, word) for word in words)


def read_corrections(path: Path, where: str) -> dict[str, str]:
    """Return the words and their replacements in a flat JSON object.

    Raises
    ------
    OptionError
        If the file cannot be read, or holds anything else.
    """
    where = f"{where}: corrections"
    try:
        content = source_json(path)
    except (OSError, ValueError) as error:
        reason = first_line(error)
        raise OptionError(f"{where}: {path} cannot be read ({reason}).") from None
    if not isinstance(content, dict) or not all(isinstance(v, str) for v in content.values()):
        raise OptionError(
            f"{where}: expected one JSON object of words and replacements, got another form "
            f"({path}). Give the correction_dict_CATEGORY.json of the authors."
        )
    return content


class CleaningTokenizer:
    """A tokeniser behind the clean-up.

    Parameters
    ----------
    tokenizer : callable
        What reads the cleaned texts.
    corrections : mapping of str to str, optional
        Spelling corrections; None leaves texts as they are.
    """

    def __init__(self, tokenizer: Tokenizer, corrections: Mapping[str, str] | None) -> None:
        self.tokenizer, self.corrections = tokenizer, corrections

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Return the tokens of texts, cleaned where that is wanted."""
        if self.corrections is not None:
            texts = [clean_caption(text, self.corrections) for text in texts]
        return self.tokenizer(texts)
