"""Every backend of embeddings keeps the same promises, and another package can bring one."""

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from jsonschema import Draft202012Validator

from conceptbridge.core.code_fingerprint import code_files
from conceptbridge.core.errors import StudyError
from conceptbridge.core.schema import check
from conceptbridge.embed.compute import compute_texts, dry_run, encode_all, fill, load_encoder
from conceptbridge.embed.tables import write_site_table
from conceptbridge.embed.vectors import read_vectors
from conceptbridge.study.backends import BACKENDS, COMMON_FIELDS, Backend, find_backend
from conceptbridge.study.config import read_study
from conceptbridge.study.embeddings import catalogue_schema, find_embedding
from embedding_service import WIDTH, service
from test_embed_cooccurrence import ROWS, write_site
from test_embed_cooccurrence import TEXTS as LEARNED_TEXTS
from tiny_model import TEXTS, save_model, write_vocabulary
from toy_package import installed_package

ROOT = Path(__file__).parents[2]
NAMES = list(BACKENDS)
MODEL = {"max_length": 64, "normalize": True, "dtype": "float32", "width": 32}
#: a valid entry of each backend, without what a test has to make first
ENTRIES: dict[str, dict[str, Any]] = {
    "onehot": {},
    "ontology": {"levels": 4},
    "random": {"parent": "remote"},
    "shuffled": {"parent": "remote"},
    "cooccurrence": {"width": 4},
    "lexical": {"width": 8},
    "translated": {"parent": "remote"},
    "representation": {"file": "vectors-{site}.parquet"},
    "record-text": {"parent": "names"},
    "precomputed": {"file": "a.npz", "file_sha256": "0" * 64, "key": "text", "missing": "zero", "width": 8},
    "openai": {"model": "m", "url": "http://127.0.0.1:1", "width": WIDTH},
    "sentence-transformers": MODEL | {"model": "/a/model", "pooling": "mean", "weights_sha256": "0" * 64},
    "transformers": MODEL | {"model": "/a/model", "pooling": "mean", "weights_sha256": "0" * 64},
}
PARENT = {"remote": {"backend": "openai"} | ENTRIES["openai"], "names": {"backend": "lexical", "width": 8}}


def entry(name: str, **changed: Any) -> dict[str, Any]:
    return {"backend": name} | ENTRIES[name] | changed


@pytest.mark.parametrize("name", NAMES)
def test_a_declaration_holds_together(name: str) -> None:
    backend = find_backend(name)
    fields = {*backend.fields, *COMMON_FIELDS}
    assert backend.name == name
    assert not {*backend.fields} & {*COMMON_FIELDS, "backend"}
    assert {*backend.required, *backend.identity, *backend.shared} <= fields
    assert len({*backend.identity}) == len(backend.identity)
    Draft202012Validator.check_schema(backend.schema())
    assert BACKENDS[name] == type(backend).__module__
    # who does not say where vectors come from cannot be asked for them
    asked = {"computed": "load", "published": "open", "learned": "learn", "rows": "represent"}
    for vectors, method in asked.items():
        own = getattr(type(backend), method) is not getattr(Backend, method)
        assert own == (backend.vectors == vectors)


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_is_checked_against_the_fields_of_its_backend(name: str) -> None:
    check({"it": entry(name)}, catalogue_schema(), "catalogue")
    for key in find_backend(name).required:
        with pytest.raises(StudyError, match=f"it: the key '{key}' is missing"):
            check({"it": {k: v for k, v in entry(name).items() if k != key}}, catalogue_schema(), "catalogue")
    with pytest.raises(StudyError, match=r"it: unknown key 'licens' \(did you mean 'licence'\?\); known keys: backend"):
        check({"it": entry(name, licens="MIT")}, catalogue_schema(), "catalogue")


def test_a_field_of_another_backend_is_unknown() -> None:
    with pytest.raises(StudyError, match="it: unknown key 'pooling'; known keys: backend, model, revision"):
        check({"it": entry("openai", pooling="mean")}, catalogue_schema(), "catalogue")
    with pytest.raises(StudyError, match=r"it\.backend: 'transformer' is not one of .*mean 'transformers'"):
        check({"it": entry("transformers", backend="transformer")}, catalogue_schema(), "catalogue")
    with pytest.raises(StudyError, match="it: the key 'backend' is missing"):
        check({"it": {"width": 3}}, catalogue_schema(), "catalogue")
    with pytest.raises(StudyError, match=r"no embedding backend 'onehott' \(did you mean 'onehot'\?\); there are "):
        find_backend("onehott")


@pytest.mark.parametrize("name", NAMES)
def test_exactly_the_fields_of_the_identity_change_the_fingerprint(name: str) -> None:
    backend = find_backend(name)
    values: dict[str, Any] = {"string": "another", "integer": 99, "number": 0.5, "boolean": False}
    for key, schema in {**backend.fields, **COMMON_FIELDS}.items():
        if key in ("parent", "missing"):  # other entries: tests of the catalogue
            continue
        was = entry(name)
        if "parent" in was:  # some take the width from their parent
            del was["parent"]
            was |= {"width": 8} if name in ("random", "shuffled") else {}
        value = next((one for one in schema["enum"] if one != was.get(key)), None) if "enum" in schema else None
        now = was | {key: values[schema["type"]] if value is None else value}
        ids = {find_embedding("it", {"it": one}, "test").fingerprint for one in (was, now)}
        moved = key == "model" and "weights_sha256" in was
        assert (len(ids) == 2 or moved) == (key in backend.identity), key


def test_reading_the_declarations_imports_nothing_heavy() -> None:
    code = (
        "import sys; from conceptbridge.study.embeddings import catalogue_schema; catalogue_schema(); "
        "print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"torch", "transformers", "sentence_transformers", "numpy", "pyarrow", "scipy", "requests", "duckdb"}
    assert not heavy & set(told)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Entries that work, for the backends that compute vectors."""
    with ExitStack() as open_ones:
        model = save_model(tmp_path_factory.mktemp("model"))

        def make(name: str) -> dict[str, Any]:
            if name == "openai":
                return entry(name, url=open_ones.enter_context(service()).url)
            spec = entry(name, **({"model": str(model)} if "model" in ENTRIES[name] else {"width": WIDTH}))
            return {key: value for key, value in spec.items() if key != "weights_sha256"}

        yield make


@pytest.mark.parametrize("name", [n for n in NAMES if find_backend(n).vectors == "computed"])
def test_a_text_has_one_finite_vector_whatever_stands_beside_it(
    real: Callable[[str], dict[str, Any]], name: str
) -> None:
    spec = real(name)
    texts = list(dict.fromkeys(TEXTS))
    encoder = load_encoder(spec)
    vectors = encode_all(encoder, texts)
    assert vectors.shape == (len(texts), spec["width"])
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert np.array_equal(encode_all(encoder, texts), vectors)
    assert np.allclose(encode_all(encoder, texts[::-1])[::-1], vectors, atol=1e-6)
    assert np.allclose(encode_all(load_encoder(spec), texts[:1]), vectors[:1], atol=1e-6)
    assert list(encoder.encode([])) == []


def test_a_published_file_and_learned_rows_give_the_same_vectors_again(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", keys=np.array(["cough", "fall"]), vectors=np.eye(2, 8, dtype=np.float32))
    sha256 = hashlib.sha256((tmp_path / "a.npz").read_bytes()).hexdigest()
    site = write_site(tmp_path / "site", LEARNED_TEXTS, ROWS)
    tokens = pa.table({"text": ["Fall", "Cough", "unknown", "cough"]})
    for _ in range(2):
        file = find_backend("precomputed").open(entry("precomputed", file_sha256=sha256), tmp_path)
        assert file.find(tokens).tolist() == [1, 0, -1, 0]
        texts, vectors = find_backend("cooccurrence").learn(entry("cooccurrence"), [site], 10)
        again = find_backend("cooccurrence").learn(entry("cooccurrence"), [site], 10)
        assert texts == sorted(filter(None, LEARNED_TEXTS)) == again[0]
        assert np.array_equal(vectors, again[1])


@pytest.mark.parametrize("name", NAMES)
def test_who_computes_no_text_says_so(tmp_path: Path, name: str) -> None:
    it = find_embedding("it", {"it": entry(name)} | PARENT, "test")
    if it.backend.vectors == "computed":
        assert dry_run(it, [], [], tmp_path, False)["texts"] == 0
        return
    with pytest.raises(StudyError, match=f"the backend '{name}' computes no vectors from texts"):
        load_encoder(it.spec)
    with pytest.raises(StudyError, match=f"it computes no texts: its backend is {name}"):
        dry_run(it, [], [], tmp_path, False)


TOY = """
from typing import ClassVar

from conceptbridge.core.errors import StudyError
from conceptbridge.study.backends import Backend


class Lengths(Backend):
    name = "lengths"
    fields = {"step": {"type": "number", "exclusiveMinimum": 0}, "note": {"type": "string"}}
    required = ("step", "width")
    identity = ("step", "width")

    def load(self, spec, threads):
        return Encoder(spec["step"], spec["width"])

    def check(self, name, spec):
        if spec["width"] > 100:
            raise StudyError(f"catalogue of embeddings: {name}: too wide")


class Encoder:
    def __init__(self, step, width):
        self.step, self.width = step, width

    def encode(self, texts):
        import numpy as np

        for text in texts:
            start = np.nan if text == "nothing" else len(text)
            yield [text], (start + self.step * np.arange(self.width, dtype=np.float32))[None]


class Renamed(Lengths):
    name = "other"


NOT_ONE = 3
"""


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Path]:
    """The file of another package's backend, installed."""
    points = "lengths = toy:Lengths\nrenamed = toy:Renamed\nabsent = toy:Absent\nnumber = toy:NOT_ONE"
    with installed_package(tmp_path / "site-packages", "toy", points, "conceptbridge.backends", toy=TOY) as folder:
        yield folder / "toy.py"


def test_another_package_brings_a_backend(toy: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    spec = {"backend": "lengths", "step": 2, "width": 3}
    study = read_study({**config, "embeddings": ["onehot", {"mine": spec}]})
    mine = study.embeddings["mine"]
    assert (mine.control, mine.remote, mine.learned, mine.shareable, mine.tables) == (False, False, False, True, mine)
    assert find_embedding("mine", {"mine": spec | {"note": "x"}}, "test").id == mine.id
    assert find_embedding("mine", {"mine": spec | {"step": 3}}, "test").id != mine.id
    assert study.model("riverside", "influenza", mine, "logistic")["embedding"]["entry"] == {"step": 2, "width": 3}
    for changed, message in [
        ({"step": 0}, r"mine\.step: 0 is too small"),
        ({"stepp": 1}, r"mine: unknown key 'stepp' \(did you mean 'step'\?\)"),
        ({"width": 101}, "mine: too wide"),
    ]:
        with pytest.raises(StudyError, match=message):
            read_study({**config, "embeddings": ["onehot", {"mine": spec | changed}]})
    vocabulary = write_vocabulary(tmp_path / "site.parquet", ["a", "abc"])
    compute_texts(mine, [vocabulary], [], tmp_path, tmp_path / "cache", False)
    write_site_table(vocabulary, mine, tmp_path, tmp_path / "cache", False, tmp_path / "table.parquet")
    texts, vectors = read_vectors(tmp_path / "table.parquet")
    assert (texts, vectors.tolist()) == (["a", "abc"], [[1, 3, 5], [3, 5, 7]])
    with pytest.raises(StudyError, match="1 of 1 vectors are not finite"):
        fill(mine, ["nothing"], tmp_path / "cache")


def test_a_change_of_its_code_counts_for_its_own_embeddings(toy: Path, tmp_path: Path) -> None:
    script = ROOT / "workflow/scripts/compute_texts.py"
    mine = find_embedding("mine", {"mine": {"backend": "lengths", "step": 2, "width": 3}}, "test")
    assert mine.modules == ["toy"]
    assert toy in code_files(script, mine.modules)
    assert toy not in code_files(script, find_embedding("onehot", {"onehot": entry("onehot")}, "test").modules)


def test_what_another_package_brings_has_to_be_a_backend_of_that_name(toy: Path) -> None:
    with pytest.raises(StudyError, match=r"backend 'absent' \(toy:Absent\) cannot be imported: AttributeError"):
        find_backend("absent")
    for name in ("number", "renamed"):
        with pytest.raises(StudyError, match=f"'{name}' of the module toy must be a subclass of .*Backend"):
            find_backend(name)


def test_a_counted_change_of_the_code_is_another_embedding(monkeypatch: pytest.MonkeyPatch) -> None:
    was = find_embedding("it", {"it": entry("cooccurrence")}, "test")
    monkeypatch.setattr(type(find_backend("cooccurrence")), "changed", 1)
    assert find_embedding("it", {"it": entry("cooccurrence")}, "test").id != was.id


def test_identities_of_earlier_runs_stay() -> None:
    """These were made before backends declared their fields; `key` was then called `by`."""
    published = {"backend": "precomputed", "file": "a.h5", "file_sha256": "1" * 64, "missing": "fail", "width": 768}
    model = {"backend": "transformers", "model": "/a/model", "weights_sha256": "0" * 64, "pooling": "cls", "layer": -1}
    model |= {"prompt": "x", "max_length": 64, "normalize": False, "dtype": "bfloat16", "width": 8, "licence": "x"}
    far = {"backend": "openai", "model": "m", "url": "http://x/v1", "width": 8, "revision": "r", "dimensions": 8}
    earlier: dict[str, dict[str, Any]] = {
        "9d7be2561443": published | {"key": "code"},
        "0823b0f3bb08": published | {"key": "text", "missing": "zero"},
        "215d04802cdb": model | {"pickled_weights": True},
        "c569dc25e4b2": far | {"prompt": "p", "normalize": True, "price": 1, "key_env": "K"},
        "343ac892b5a8": {"backend": "cooccurrence", "width": 128},
    }
    for known, spec in earlier.items():
        assert find_embedding("it", {"it": spec}, "test").id == f"it-{known}"
