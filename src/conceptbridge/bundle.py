"""Read and use a model that another hospital has sent, from Python."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from conceptbridge import layout
from conceptbridge.core.errors import StudyError
from conceptbridge.exchange.package import check_fields, read_package
from conceptbridge.exchange.receive.bundles import receive, receive_tokens
from conceptbridge.exchange.receive.find_bundles import about_schema
from conceptbridge.exchange.score.predict import score
from conceptbridge.learn.site import read_site
from conceptbridge.study.backends import find_backend
from conceptbridge.study.study import Study


@dataclass(frozen=True)
class Bundle:
    """A model that another hospital has sent. Everything in it has been checked, and nothing in it has been run.

    ``about`` is what its manifest says: source, task, definition, embedding, learner, seeds, and the ``reason`` if the
    source had too few rows or events to train a model. ``card`` is the model card, Markdown.
    """

    path: Path
    about: Mapping[str, Any]
    card: str

    def predict(self, study: Study, site: str) -> pd.DataFrame:
        """Predict the test rows of the task at ``site``, or the patients that the study lists there.

        Reads the rows from the results folder of an earlier run of ``study``. Returns one row each: person_id,
        index_date, probability (mean over seeds), seed_sd, tokens, and the share of them that the source does not have,
        by code (unseen_key) and by code and name (unseen_text). These rows are about persons: they stay at the site.

        Raises StudyError if the study defines the task or the embedding differently from the bundle, does not have the
        site, or has not been run.
        """
        about, own = self.about, study.own + study.scored
        name, source, task = about["embedding"]["name"], about["source"], about["task"]
        needed = {"task": (task, study.config["tasks"]), "embedding": (name, study.embeddings), "site": (site, own)}
        for kind, (value, known) in needed.items():
            if value not in known:
                raise StudyError(f"{self.path}: the study has no {kind} {value!r}; it has {', '.join(known)}")
        embedding = study.embeddings[name]
        rows, table = _rows(study, task, site), None
        if embedding.tables is not None and not embedding.tables.learned:
            table = layout.vectors(Path(study.config["results"]), embedding.tables.id, site)
        for file in (*rows, table):
            if file is not None and not file.is_file():
                raise StudyError(f"{file}: there is no such file; run the study first")
        expected = study.model(source, task, embedding, about["learner"])
        with tempfile.TemporaryDirectory() as temporary:
            arm, known, out = (Path(temporary) / name for name in ("arm", "known.parquet", "out.csv"))
            receive(self.path, expected, embedding.spec.get("width"), arm)
            receive_tokens([self.path], source, known)
            min_cell_count = study.config["min_cell_count"]
            target = read_site(site, rows, table)
            score(target, about["learner"], arm, source, embedding.fingerprint, rows, known, min_cell_count, out)
            return pd.read_csv(out, parse_dates=["index_date"])


def _rows(study: Study, task: str, site: str) -> tuple[Path, Path, Path]:
    """Cohort, tokens and sequences of the patients to predict at a site."""
    results = Path(study.config["results"])
    if site not in study.scored:
        return layout.rows(results, task, site)
    kinds = (layout.PATIENTS, layout.PATIENTS_TOKENS, layout.PATIENTS_SEQUENCES)
    cohort, tokens, sequences = (results / layout.place(kind, task=task, site=site) for kind in kinds)
    return cohort, tokens, sequences


def load_bundle(path: str | Path) -> Bundle:
    """Check all of a bundle, as a study does when it receives one.

    Raises StudyError with the bundle, the file and the field if anything is wrong.
    """
    path = Path(path)
    with tempfile.TemporaryDirectory() as temporary:
        files = Path(temporary) / "files"
        about = read_package(path, "bundle", files)
        check_fields(about, about_schema(), f"{path}: manifest.json: about")
        width = about["embedding"]["entry"].get("width")
        if find_backend(about["embedding"]["backend"]).vectors != "none" and (type(width) is not int or width < 1):
            raise StudyError(f"{path}: manifest.json: about: embedding.entry.width: is not a positive integer")
        receive(path, about, width, Path(temporary) / "arm")
        return Bundle(path, about, (files / "card.md").read_text(encoding="utf-8"))
