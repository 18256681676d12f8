"""A file that is about to leave a site: what the check notes of it, and how the check rejects it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from conceptbridge.core.errors import StudyError

FEW = "counts under min_cell_count"
FEW_HAVE = "a text of fewer than"
"""How the finding of a text of few persons begins."""


@dataclass
class ReleasedFile:
    """What is known of a file that leaves.

    ``file`` is its path in the package, ``about`` what it is. A table has ``rows`` and ``columns``. ``smallest`` is the
    smallest count in it that is not 0. ``texts`` is how many texts it holds; ``local`` has those of local and unmapped
    concepts, each with the key of its token.
    """

    file: str
    about: str = ""
    rows: int | None = None
    columns: list[str] = field(default_factory=list)
    smallest: int | None = None
    texts: int = 0
    local: dict[str, str] = field(default_factory=dict)

    def note_count(self, count: int) -> None:
        """Note a count that the file shows."""
        if count and (self.smallest is None or count < self.smallest):
            self.smallest = count

    def note_texts(self, texts: Iterable[tuple[str, str]]) -> None:
        """Note the file's texts, each with the key of its token. A local concept's key begins with its site."""
        noted = list(texts)
        self.texts = len(noted)
        self.local = {text: key for text, key in noted if "/" in key.partition("|")[0]}


def reject(file: str, where: str, finding: str | None, advice: str) -> None:
    """Raise StudyError if there is a ``finding`` at this place of the file."""
    if finding is not None:
        if finding.startswith(FEW_HAVE):
            advice = (
                "if it is the hospital's own text, change or empty it in the extract and run the study again; if it is "
                "a name that the study gives (a site, task, embedding or subgroup), give another"
            )
        raise StudyError(f"{file}: {where} holds {finding}, which must not leave the site; {advice}")
