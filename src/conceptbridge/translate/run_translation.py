"""One entry for a target's translations: read what its tokens are at both sites, and write a table per source."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from conceptbridge import layout
from conceptbridge.core.atomic_files import atomic_folder, write_parquet
from conceptbridge.core.errors import StudyError
from conceptbridge.core.read_parquet import read_table
from conceptbridge.embed.vectors import read_vectors
from conceptbridge.study.backends import find_backend
from conceptbridge.translate.corrections import read_corrections
from conceptbridge.translate.profile_file import read_profile
from conceptbridge.translate.translation import SCHEMA, Words, translate, words_of
from conceptbridge.translate.translation_job import TranslationJob

#: a translation as a file: of each draw of a control; 1 of any other
FILE_SCHEMA = SCHEMA.insert(0, pa.field("draw", pa.int32()))


def run_translation(job: TranslationJob, results: Path, corrections: Sequence[Path], out: Path) -> None:
    """Write the target's translation into the words of each source to ``out``: ``{source}.parquet`` (``FILE_SCHEMA``).

    Inputs lie below ``results``; ``corrections`` are files of a clinician's words. Raises StudyError where one of them
    names a token that there is not.
    """
    target = read_words(job, results, job.target, at_home=True)
    with atomic_folder(out) as folder:
        for source in job.sources:
            there = read_words(job, results, source, at_home=False)
            said = read_corrections(corrections, job.task, (job.target, target.keys), (source, there.keys))
            draws = [
                translate(_drawn(target, job, draw), _drawn(there, job, draw, shuffle=False), said)
                for draw in range(1, job.draws + 1)
            ]
            numbered = [
                table.add_column(0, "draw", pa.array([draw] * len(table), pa.int32()))
                for draw, table in enumerate(draws, 1)
            ]
            write_parquet(pa.concat_tables(numbered).cast(FILE_SCHEMA), folder / f"{source}.parquet")


def read_words(job: TranslationJob, results: Path, site: str, at_home: bool) -> Words:
    """A site's tokens of the job's task: all of them at home, also of its patients; elsewhere those that its profile
    tells of."""
    kinds = [layout.TOKENS, *([layout.PATIENTS_TOKENS] if at_home and job.patients else [])]
    files = [results / layout.place(kind, task=job.task, site=site) for kind in kinds]
    named = [read_table(file, columns=["key", "text"]).to_pydict() for file in files]
    text_of = {key: text for one in named for key, text in zip(one["key"], one["text"], strict=True)}
    profile = read_profile(results / layout.place(layout.PROFILE, task=job.task, site=site), job.min_cell_count)
    keys, texts = list(text_of), list(text_of.values())
    known = keys if at_home else profile.keys
    table = read_vectors(layout.vectors(results, job.names, site))
    return words_of(keys, texts, known, table, None if job.profiles == "none" else profile)


def read_translations(path: Path) -> list[pa.Table]:
    """The translations (``translation.SCHEMA``) of a file that ``run_translation`` wrote, one per draw.

    Raises StudyError where there is none.
    """
    if not path.is_file():
        raise StudyError(f"{path}: there is no translation; translate this target again")
    table = read_table(path)
    draw = table["draw"].to_numpy()
    return [table.filter(pa.array(draw == k)).drop_columns("draw") for k in sorted(set(draw.tolist())) or [1]]


def _drawn(words: Words, job: TranslationJob, draw: int, shuffle: bool = True) -> Words:
    """A control's words in one draw: names' vectors drawn anew, or profiles of other tokens."""
    if (backend := find_backend(job.names_backend)).drawn and words.vectors is not None:
        names = sorted({text for text in words.texts if text is not None})
        table = names, backend.draw(names, words.vectors.shape[1], draw)
        words = words_of(words.keys, words.texts, words.keys, table, words.profile)
    if shuffle and job.profiles == "shuffled" and words.profile is not None:
        keys = words.profile.keys
        others = sorted(keys, key=lambda key: hashlib.sha256(f"shuffle {draw}:{key}".encode()).digest())
        words = replace(words, behaves_as=dict(zip(keys, others, strict=True)))
    return words
