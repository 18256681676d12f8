"""Free text stays home: what a hospital wrote is embedded only where enough persons have it, and sent nowhere."""

import logging
from datetime import timedelta
from pathlib import Path

import pytest

from conceptbridge.embed.compute import compute_texts
from conceptbridge.embed.tables import write_site_table
from conceptbridge.embed.vectors import read_vectors
from conceptbridge.learn.arm_job import Budget
from conceptbridge.learn.site import read_site
from conceptbridge.study.embeddings import Embedding, find_embedding
from embedding_service import WIDTH, Service, service
from made_arms import train_local
from task_site import COUGH, DAY, FLU, Site, task
from tiny_site import concept, condition, person, visit

LOCAL, UNNAMED = 2_000_000_001, 4_000_000
#: of one person; of twenty: a local concept, an unmapped record, a standard concept that only the record names
RARE, OF_MANY, UNMAPPED, NAMED_HERE = "canary of J. Doe", "ward code canary", "typed canary", "source canary"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a site of 80 persons whose records hold the canaries."""
    folder = tmp_path_factory.mktemp("site")
    conditions = [condition(1, DAY, 0, condition_source_value=RARE)]
    for i in range(1, 81):
        conditions.append(condition(i, DAY, COUGH, condition_source_value="R05"))
        if i <= 20:
            conditions.append(condition(i, DAY, LOCAL, condition_source_value=OF_MANY))
            conditions.append(condition(i, DAY, 0, condition_source_value=UNMAPPED))
            conditions.append(condition(i, DAY, UNNAMED, condition_source_value=NAMED_HERE))
        if i % 2:
            conditions.append(condition(i, DAY + timedelta(days=3), FLU, condition_source_value="J10"))
    Site(
        folder,
        task(
            predictors={"domains": ["condition", "demographic"]},
            split={"by": "hash", "shares": [0.6, 0.2, 0.2], "seed": 0},
        ),
        min_cell_count=10,
        person=[person(i) for i in range(1, 81)],
        visit_occurrence=[visit(i, DAY) for i in range(1, 81)],
        condition_occurrence=conditions,
        concept=[concept(FLU, "Influenza"), concept(COUGH, "Cough")],
    )
    return folder


def embedding(running: Service) -> Embedding:
    entry = {"backend": "openai", "model": "m", "url": running.url, "width": WIDTH}
    return find_embedding("far", {"far": entry}, "test")


def run(site: Path, far: Embedding, out: Path, local_text: bool) -> set[str]:
    """Embed the site, train on it, and return the texts that have a vector."""
    table = out / "table.parquet"
    compute_texts(far, [site / "vocabulary.parquet"], [], out, out / "cache", local_text)
    write_site_table(site / "vocabulary.parquet", far, out, out / "cache", local_text, table)
    target = read_site("here", [site / f"{kind}.parquet" for kind in ("cohort", "tokens", "sequences")], table)
    settings = {"filters": 4, "dropout": 0.5, "batch": 8, "weight_decay": 0.0}
    settings |= {"momentum": 0.9, "learning_rate": 0.01, "max_passes": 2, "patience": 2}
    settings |= {"min_pass_steps": 1, "max_pass_steps": 1, "checks_per_pass": 1}
    budget = Budget(settings, {}, 1, 1, 2, 1, 10, True)
    train_local(
        target, "cnn", {"name": "far", "fingerprint": far.fingerprint, "backend": "openai"}, budget, out / "arm"
    )
    assert list((out / "arm").rglob("*.safetensors"))
    return set(read_vectors(table)[0])


def found(word: str, out: Path, *told: str) -> bool:
    """Whether ``word`` is in any file below ``out`` or in what was told."""
    files = (path.read_bytes() for path in out.rglob("*") if path.is_file())
    return any(word.encode() in content for content in files) or any(word in text for text in told)


def test_no_canary_leaves_the_hospital(site: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with service("500") as running:
        texts = run(site, embedding(running), tmp_path, local_text=False)
        requests = str(running.requests)
    assert {"Cough", "Influenza", "Sex, female"} <= texts
    assert "Cough" in requests
    for canary in (RARE, OF_MANY, UNMAPPED, NAMED_HERE, "canary"):
        assert not found(canary, tmp_path, requests, caplog.text)
    assert "tokens with local text are not sent" in caplog.text


def test_with_permission_only_what_enough_persons_have_goes_out(
    site: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with service() as running:
        texts = run(site, embedding(running), tmp_path, local_text=True)
        requests = str(running.requests)
    assert {OF_MANY, UNMAPPED, NAMED_HERE} <= texts
    assert not found(RARE, tmp_path, requests, caplog.text)
    for canary in (OF_MANY, UNMAPPED, NAMED_HERE):
        assert canary not in caplog.text


def test_a_rare_text_is_not_embedded_at_home_either(site: Path, tmp_path: Path) -> None:
    catalogue = {
        "real": {"backend": "transformers", "model": ".", "weights_sha256": "0" * 64, "width": WIDTH},
        "random": {"backend": "random", "parent": "real"},
    }
    texts = run(site, find_embedding("random", catalogue, "test"), tmp_path, local_text=False)
    assert {OF_MANY, UNMAPPED, NAMED_HERE, "Cough"} <= texts
    assert not found(RARE, tmp_path)
