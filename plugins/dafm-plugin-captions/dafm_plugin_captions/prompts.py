"""What a language model is asked by default; imported to list options, so nothing heavy here."""

from typing import Final

PROMPT: Final = (
    "An image shows: {caption} It should change like this: {text} Describe the changed image in "
    "one short sentence. Answer with that sentence alone."
)
