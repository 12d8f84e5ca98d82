"""What a part of the generated inputs is."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from typing import Any, ClassVar


class Wrong(Exception):
    """An input was accepted that must not be, or a good one refused; the text is the kind of failure."""


class Part:
    """One kind of input and the parsers it is given to.

    Attributes:
        name: For people, and a part of the seed.
        share: Of a thousand inputs.
        parsers: The functions of the product, as (owner, name), that the inputs have to reach.
        wanted: Verdicts without which the part proves nothing: a parser that refuses everything must not pass.
        records: What was logged since the input was made.
    """

    name: ClassVar[str]
    share: ClassVar[int]
    parsers: ClassVar[Sequence[tuple[Any, str]]]
    wanted: ClassVar[frozenset[str]]
    records: list[logging.LogRecord]

    def make(self, chance: random.Random) -> Any:
        """Return an input; its ``repr`` is all that is needed to make it again."""
        raise NotImplementedError

    def judge(self, given: Any) -> str:
        """Give it to a parser; return the verdict. Raises Wrong, or whatever a defect raises."""
        raise NotImplementedError

    def lacks(self) -> list[str]:
        """Return what this part did not do, at its end."""
        return []

    def close(self) -> None:
        """Undo what the part needed."""


def hurt(chance: random.Random, text: str, alphabet: str) -> str:
    """Return *text* with one to five characters removed, added or replaced; never the same."""
    made = text
    while made == text:
        letters = list(text)
        for _ in range(chance.choice((1, 1, 1, 2, 5))):
            at = chance.randrange(len(letters) + 1)
            letters[at : at + chance.randrange(2)] = chance.choice(("", chance.choice(alphabet)))
        made = "".join(letters)
    return made
