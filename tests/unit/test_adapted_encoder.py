"""An encoder adapted to a vocabulary: what it learns from, what is kept out, and that a study can use it."""

import json
import sys
from pathlib import Path

import pytest

from conceptbridge import cli
from conceptbridge.core.errors import StudyError
from conceptbridge.embed import adaptation
from conceptbridge.embed.adaptation import Training, adapt_encoder
from conceptbridge.embed.adaptation_pairs import comparable, make_pairs
from conceptbridge.sites.terms import read_terms
from tiny_model import WORDS, save_model, write_vocabulary

SIDES = ("left", "right", "acute", "chronic")
#: id -> name of 60 concepts; the last is a hospital's own
NAMES = {i + 1: " ".join((SIDES[i % 4], WORDS[9 + i % 3], WORDS[2 + i % 3], str(i))) for i in range(59)} | {
    2_000_000_001: "pain in room 7"
}
SHORT = Training(epochs=2, batch_size=8)


def write_tables(folder: Path, synonyms: int = 40) -> Path:
    """A vocabulary as Athena writes it: tab-delimited text in capitals."""
    folder.mkdir()
    tables = {
        "CONCEPT": [("concept_id", "concept_name", "domain_id", "vocabulary_id", "standard_concept", "concept_code")]
        + [(str(i), name, "Condition", "SNOMED", "S", f"C{i}") for i, name in NAMES.items()],
        "CONCEPT_SYNONYM": [("concept_id", "concept_synonym_name", "language_concept_id")]
        + [(str(i), f"{name} of the heart", "4180186") for i, name in list(NAMES.items())[:synonyms]]
        + [("1", NAMES[1].upper(), "4180186"), ("2000000001", "a room", "4180186")],
        "CONCEPT_RELATIONSHIP": [("concept_id_1", "concept_id_2", "relationship_id", "invalid_reason")]
        + [(str(i), str(i + 1), "Maps to", "") for i in range(41, 50)]
        + [("5", "5", "Maps to", ""), ("6", "7", "Maps to", "D"), ("6", "7", "Has finding site", "")],
        "CONCEPT_ANCESTOR": [("ancestor_concept_id", "descendant_concept_id", "min_levels_of_separation")]
        + [("1", str(i), str(1 + i % 2)) for i in range(2, 12)],
    }
    for name, rows in tables.items():
        (folder / f"{name}.csv").write_text("".join("\t".join(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tables(tmp_path_factory.mktemp("adapted") / "vocabulary")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = save_model(tmp_path_factory.mktemp("base") / "tiny")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 32, "pooling_mode": "mean"}))
    parts = [("0", "", "models.Transformer"), ("1", "1_Pooling", "models.Pooling")]
    modules = [{"idx": int(n), "name": n, "path": path, "type": f"sentence_transformers.{t}"} for n, path, t in parts]
    (folder / "modules.json").write_text(json.dumps(modules))
    return str(folder)


@pytest.fixture(scope="module")
def trainer() -> None:
    for package in adaptation.EXTRA:
        pytest.importorskip(package, reason="the extra `adapt` is not installed")


def test_terms_are_those_of_the_vocabulary_s_tables_and_never_a_hospital_s_own(vocabulary: Path) -> None:
    terms = read_terms(vocabulary, 1000, 1)
    assert terms.concepts == list(range(1, 60))
    assert "pain in room 7" not in terms.names.values()
    assert terms.synonyms == sorted((i, f"{NAMES[i]} of the heart") for i in range(1, 41))
    assert terms.maps_to == [(i, i + 1) for i in range(41, 50)]
    assert terms.parents == [(i, 1) for i in range(2, 12, 2)]
    assert terms.skipped == 0


def test_only_concepts_of_the_sites_are_chosen_and_no_more_than_asked_for(vocabulary: Path, tmp_path: Path) -> None:
    used = write_vocabulary(tmp_path / "vocabulary.parquet", ["a", "b", "c"], concept_id=[3, 42, 2_000_000_001])
    terms = read_terms(vocabulary, 1000, 1, [used])
    assert terms.concepts == [3, 42]
    assert terms.maps_to == [(41, 42), (42, 43)]
    assert len(read_terms(vocabulary, 7, 1).concepts) == 7
    assert read_terms(vocabulary, 7, 1) == read_terms(vocabulary, 7, 1, threads=2)
    assert read_terms(vocabulary, 7, 1).concepts != read_terms(vocabulary, 7, 2).concepts


def test_no_training_pair_has_a_held_out_term(vocabulary: Path) -> None:
    for seed in range(1, 6):
        pairs = make_pairs(read_terms(vocabulary, 1000, seed), 1000, seed)
        unseen = set(map(comparable, pairs.held_out_terms))
        assert unseen
        told = {comparable(text) for pair in pairs.training for text in pair[1:]}
        assert not {text.removeprefix("not ") for text in told} & unseen
        for of_kind in pairs.held_out.values():
            assert all(set(map(comparable, pair)) & unseen for pair in of_kind)


def test_every_pair_has_its_opposite_as_hard_negative(vocabulary: Path) -> None:
    pairs = make_pairs(read_terms(vocabulary, 1000, 1), 1000, 1)
    assert pairs.used == pairs.found
    assert all(pairs.used.values())
    for _, text, partner, opposite in pairs.training:
        assert f"Not {text}" == opposite or (text == f"Not {opposite}" and partner.startswith("Not "))
    absent = sum(pair.text.startswith("Not ") for pair in pairs.training)
    assert 0 < absent < len(pairs.training) / 2


def test_the_digest_changes_with_the_pairs_and_with_nothing_else(vocabulary: Path, tmp_path: Path) -> None:
    digest = make_pairs(read_terms(vocabulary, 1000, 1), 1000, 1).digest
    assert make_pairs(read_terms(vocabulary, 1000, 1), 1000, 1).digest == digest
    assert make_pairs(read_terms(vocabulary, 1000, 1), 30, 1).digest != digest
    assert make_pairs(read_terms(vocabulary, 1000, 2), 1000, 2).digest != digest
    fewer = write_tables(tmp_path / "fewer", synonyms=39)
    assert make_pairs(read_terms(fewer, 1000, 1), 1000, 1).digest != digest


@pytest.mark.usefixtures("trainer")
def test_a_second_run_gives_the_same_bytes_and_a_study_reads_them(vocabulary: Path, base: str, tmp_path: Path) -> None:
    from conceptbridge.embed.compute import encode_all, load_encoder
    from conceptbridge.study.own_encoder import own_entry

    one, two = tmp_path / "one", tmp_path / "two"
    record = adapt_encoder(base, vocabulary, one, training=SHORT)
    adapt_encoder(base, vocabulary, two, training=SHORT)
    files = sorted(file.relative_to(one) for file in one.rglob("*") if file.is_file())
    assert Path("model.safetensors") in files
    assert files == sorted(file.relative_to(two) for file in two.rglob("*") if file.is_file())
    for file in files:
        assert (one / file).read_bytes() == (two / file).read_bytes(), file
        assert str(tmp_path).encode() not in (one / file).read_bytes(), file
    assert record == json.loads((one / "adaptation.json").read_text())
    assert record["held_out_terms"]
    assert record["pairs"]["used"] == record["pairs"]["found"]

    entry = own_entry("adapted", str(one))
    assert entry["weights_sha256"] == record["weights_sha256"]
    assert entry["weights_sha256"] != own_entry("base", base)["weights_sha256"]
    assert (entry["width"], entry["pooling"], entry["max_length"]) == (32, "mean", 64)
    assert encode_all(load_encoder(entry), ["fever", "pain"]).shape == (2, 32)


@pytest.mark.usefixtures("trainer")
def test_training_parts_a_name_from_its_opposite_also_where_the_name_was_held_out(
    vocabulary: Path, base: str, tmp_path: Path
) -> None:
    record = adapt_encoder(base, vocabulary, tmp_path / "out", training=Training(batch_size=8, learning_rate=1e-3))
    before, after = (record["measures"][when]["polarity"] for when in ("before", "after"))
    assert after["cosine"] < before["cosine"]
    assert after["polarity"] > before["polarity"]


@pytest.mark.usefixtures("trainer")
def test_mistakes_are_told_in_one_sentence_and_leave_nothing_behind(
    vocabulary: Path, base: str, tmp_path: Path
) -> None:
    def told(base: str, vocabulary: Path, out: Path, sites: tuple[Path, ...] = ()) -> str:
        with pytest.raises(StudyError) as error:
            adapt_encoder(base, vocabulary, out, sites)
        assert "\n" not in str(error.value)
        return str(error.value)

    out, empty, full = (tmp_path / name for name in ("out", "empty", "full"))
    empty.mkdir()
    full.mkdir()
    (full / "mine").write_text("")
    few = tmp_path / "few"
    few.mkdir()
    (few / "concept.csv").write_text("concept_id,concept_name\n1,Cough\n2,Fever\n")
    local = tmp_path / "local"
    local.mkdir()
    (local / "concept.csv").write_text("concept_id,concept_name\n2000000001,Cough\n")
    odd = tmp_path / "odd.parquet"
    odd.write_text("no table")

    assert "'minilmm' is neither an embedding of the catalogue (did you mean 'minilm'?)" in told(
        "minilmm", vocabulary, out
    )
    assert "onehot cannot be trained: take an encoder" in told("onehot", vocabulary, out)
    assert f"{full}: this folder already exists" in told(base, vocabulary, full)
    assert "has no CDM table" in told(base, empty, out)
    assert f"{few}: gives 2 pairs of names to learn from, and 20 are needed" in told(base, few, out)
    assert f"{local}: its concept table has no standard name to learn from" in told(base, local, out)
    assert f"{odd}: cannot be read as vocabularies of sites" in told(base, vocabulary, out, (odd,))
    assert not out.exists()
    assert [path.name for path in full.iterdir()] == ["mine"]


def test_the_packages_that_train_are_asked_for(
    vocabulary: Path, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adaptation, "EXTRA", ("no_such_package",))
    with pytest.raises(StudyError, match=r"lacks: pip install 'conceptbridge\[adapt\]'"):
        adapt_encoder(base, vocabulary, tmp_path / "out")


@pytest.mark.usefixtures("trainer")
def test_the_command_adapts_and_says_how_to_use_it(
    vocabulary: Path,
    base: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    arguments = ["adapt-encoder", base, str(vocabulary), str(out), "--epochs", "1", "--max-pairs", "40", "--seed", "3"]
    monkeypatch.setattr(sys, "argv", ["conceptbridge", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert f"`embeddings: [{{adapted: {out}}}]`" in said
    assert "cosine of a name and its Not" in said
    record = json.loads((out / "adaptation.json").read_text())
    assert sum(record["pairs"]["used"].values()) == 40
    assert record["training"]["seed"] == 3
