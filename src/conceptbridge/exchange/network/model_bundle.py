"""The bundle of a model that hospitals trained together: what each of them puts into its study."""

import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from conceptbridge.core.atomic_files import write_json, write_text
from conceptbridge.exchange.egress.check import check_egress
from conceptbridge.exchange.egress.release_report import write_release_report
from conceptbridge.exchange.egress.site_secrets import SiteSecrets
from conceptbridge.exchange.package import write_package
from conceptbridge.exchange.send.model_card import card
from conceptbridge.learn.arm_files import read_entry


def name_of(task: str, embedding: str, learner: str) -> str:
    """The file name of the bundle of a model."""
    return f"{task}.{embedding}.{learner}.zip"


def write_model_bundle(about: Mapping[str, Any], arm: Path, out: Path) -> None:
    """Write the bundle of the model in the folder ``arm`` of a federated arm to ``out``, and a report of it beside it.

    ``about``: the fields of a bundle's manifest but ``version`` and ``reason``. Of the tokens it names those that the
    hospitals have told, as names of one-hot columns, and it has no estimate: the hospitals make these.
    """
    entry = read_entry(arm, about["source"])
    about = {**about, "version": version("conceptbridge"), "reason": entry["reason"]}
    told = {name: entry[name] for name in ("train_rows", "train_events")}
    metrics = {"trained": told | {"spent": entry.get("spent")}, "cohort": [], "metrics": []}
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "bundle"
        folder.mkdir()
        if about["reason"] is None:
            shutil.copytree(arm / "models" / about["source"], folder / "model")
        write_json({"tokens": []}, folder / "vocabulary.json")
        write_json(metrics, folder / "metrics.json")
        write_text(card(about, metrics, 0), folder / "card.md")
        # of a coordinator, who has no rows: nothing undeclared, and nothing of this machine
        nothing = SiteSecrets(
            np.zeros(0, np.int64), frozenset(), frozenset(), frozenset(), (str(Path.home()),), frozenset(), 0,
            about["min_cell_count"],
        )  # fmt: skip
        released = check_egress(folder, nothing, about["learner"])
        write_package(folder, "bundle", about, out)
    purpose = f"The model of {about['task']} that hospitals trained together, for their own studies."
    write_release_report(out.name, purpose, released, nothing, out.with_suffix(".md"))
