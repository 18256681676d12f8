"""Choose the texts of a site's vocabulary that may be embedded."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from conceptbridge.core.errors import StudyError
from conceptbridge.core.read_parquet import read_table
from conceptbridge.sites.records import LOCAL

logger = logging.getLogger(__name__)

COLUMNS = ["name", "text", "concept_id", "concept_code", "state", "domain", "named_by", "private"]


def site_tokens(vocabulary: Path, local_text: bool) -> pa.Table:
    """Return the site's tokens that may be embedded: text, concept_id, concept_code, state; one row per text, by text.

    Private tokens (local or unmapped, of fewer than ``min_cell_count`` persons) are never embedded. Without
    ``local_text`` (for a remote service) neither is a text that a hospital could have written itself: of local and
    unmapped concepts, and of concepts that only a record names.
    """
    tokens = read_table(vocabulary, columns=COLUMNS)
    allowed = pc.and_(pc.invert(tokens["private"]), pc.is_valid(tokens["text"]))
    if not local_text:
        unmapped = pc.and_(pc.equal(tokens["concept_id"], 0), pc.not_equal(tokens["domain"], "demographic"))
        concept = tokens["concept_id"]
        local = pc.or_(unmapped, pc.or_(pc.greater_equal(concept, LOCAL), pc.less(concept, 0)))
        written = pc.or_(local, pc.fill_null(pc.equal(tokens["named_by"], "source"), True))
        held = pc.sum(pc.and_(allowed, written)).as_py() or 0
        if held:
            logger.info("%d tokens with local text are not sent (send_local_text: true would send them)", held)
        allowed = pc.and_(allowed, pc.invert(written))
    # a text that is the concept's name is that of the present concept, whatever state has it
    as_named = pc.fill_null(pc.equal(tokens["text"], tokens["name"]), False)
    state = pc.if_else(as_named, "present", tokens["state"])
    tokens = tokens.set_column(tokens.column_names.index("state"), "state", state)
    kept = tokens.filter(allowed).select(["text", "concept_id", "concept_code", "state"])
    ordered = kept.sort_by([("text", "ascending"), ("concept_id", "ascending"), ("state", "ascending")])
    text = ordered["text"].combine_chunks()
    new = pc.not_equal(text.slice(1), text.slice(0, max(0, len(text) - 1)))
    return ordered.filter(pa.chunked_array([pa.array([True] * min(1, len(text)), pa.bool_()), new]))


def rated_pairs(file: Path) -> pa.Table:
    """Pairs of terms that physicians have rated (UMNSRS): Term1, Term2, Mean.

    Raises StudyError if the file lacks these columns.
    """
    try:
        return pacsv.read_csv(file).select(["Term1", "Term2", "Mean"])
    except (pa.ArrowInvalid, KeyError) as error:
        raise StudyError(f"{file}: expected the columns Term1, Term2 and Mean ({error})") from error


def rated_terms(term_pairs: Sequence[Path]) -> list[str]:
    """The distinct terms of rated pairs, sorted."""
    pairs = [rated_pairs(path) for path in term_pairs]
    return sorted({term for table in pairs for name in ("Term1", "Term2") for term in table[name].to_pylist()})


def term_tokens(terms: Sequence[str]) -> pa.Table:
    """Return terms as tokens without a concept: text, concept_id, concept_code, state."""
    n = len(terms)
    return pa.table(
        {
            "text": pa.array(terms, pa.string()),
            "concept_id": pa.array([0] * n, pa.int64()),
            "concept_code": pa.nulls(n, pa.string()),
            "state": pa.array(["present"] * n, pa.string()),
        }
    )
