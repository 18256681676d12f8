"""How fast concept names become vectors, beside the obvious ways: one text at a time, and SentenceTransformer.encode.

    python benchmarks/embed.py                     # ratios on 5,000 names, MiniLM
    python benchmarks/embed.py --scale             # seconds per 10,000 texts and peak memory: MiniLM, BERT-base size

Every way runs in turn, ``--rounds`` times, in this process on the same threads; a ratio is of the least times. The
loop runs over every tenth text in order of length, and its time is told tenfold: so it has its turn in every round.
Processor time is told beside wall time: on a machine that others use, it is the steadier of the two.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from conceptbridge.embed.compute import encode_all, load_encoder
from conceptbridge.study.config import package_data
from conceptbridge.study.embeddings import find_embedding

ROOT = Path(__file__).parents[1]
NAMES = ROOT.parent / "shared" / "data" / "concept-names.parquet"


def concept_names(count: int) -> list[str]:
    """``count`` distinct concept names, the same in every run; numbered copies of them where there are not so many."""
    names = sorted({name for name in pq.read_table(NAMES)["concept_name"].to_pylist() if name})
    names += [f"{name}, {copy}" for copy in range(1, 1 + count // len(names)) for name in names]
    return [names[i] for i in np.random.default_rng(0).permutation(len(names))[:count]]


def minilm(dtype: str) -> dict[str, Any]:
    """The catalogue's entry, with this dtype."""
    catalogue = package_data("catalogue")
    return find_embedding("minilm", catalogue, "benchmark").spec | {"dtype": dtype}


def ratios(count: int, threads: int, rounds: int) -> None:
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModel, AutoTokenizer

    from conceptbridge.embed.model_files import model_folder

    texts = concept_names(count)
    folder = str(model_folder(minilm("float32")))
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    theirs = SentenceTransformer(folder)
    ours = {dtype: load_encoder(minilm(dtype), threads) for dtype in ("float32", "bfloat16")}

    def one_at_a_time(some: list[str]) -> Any:
        vectors = []
        for text in some:
            with torch.no_grad():
                states = model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=256))[0][0]
            vectors.append(torch.nn.functional.normalize(states.mean(0), dim=0).numpy())
        return np.stack(vectors)

    ways: dict[str, Callable[[list[str]], Any]] = {
        "one text at a time": one_at_a_time,
        "SentenceTransformer.encode": lambda some: theirs.encode(some, show_progress_bar=False),
        "conceptbridge float32": lambda some: encode_all(ours["float32"], some),
        "conceptbridge bfloat16": lambda some: encode_all(ours["bfloat16"], some),
    }
    # a tenth of the texts, evenly by number of tokens, is timed for the loop
    lengths = [len(ids) for ids in tokenizer(texts)["input_ids"]]
    tenth = [int(i) for i in np.argsort(lengths, kind="stable")[5::10]]
    wall: dict[str, float] = {}
    processor: dict[str, float] = {}
    made: dict[str, Any] = {}
    for way in ways.values():
        way(texts[:64])
    for _ in range(rounds):
        for name, way in ways.items():
            some = [texts[i] for i in tenth] if name == "one text at a time" else texts
            torch.set_num_threads(1 if name.startswith("conceptbridge") else threads)  # as load_encoder does
            begin, used = time.perf_counter(), time.process_time()
            made[name] = way(some)
            each = len(texts) / len(some)
            wall[name] = min(wall.get(name, 1e9), each * (time.perf_counter() - begin))
            processor[name] = min(processor.get(name, 1e9), each * (time.process_time() - used))
    print(f"{count} distinct concept names, MiniLM, {threads} threads, load at the end {os.getloadavg()[0]:.1f}")
    print(f"least times of {rounds} rounds; the loop's is ten times that of {len(tenth)} texts, every tenth by length")
    reference = made["SentenceTransformer.encode"]
    for name in ways:
        of_same = reference[tenth] if len(made[name]) < len(texts) else reference
        cosine = float((made[name] * of_same).sum(axis=1).min())
        print(f"{name:27} {wall[name]:7.2f} s wall {processor[name]:7.2f} s processor, least cosine {cosine:.7f}")
    for name in ("conceptbridge bfloat16", "conceptbridge float32"):
        for other in ("one text at a time", "SentenceTransformer.encode"):
            print(
                f"{name} is {wall[other] / wall[name]:.2f} times as fast as {other} (processor time "
                f"{processor[other] / processor[name]:.2f})"
            )


def scale(counts: list[int], threads: int) -> None:
    """Each size in a process of its own, because a peak of memory is of a process."""
    with tempfile.TemporaryDirectory() as folder:
        save_bert_base(Path(folder))
        for model in ("minilm", folder):
            for dtype in ("float32", "bfloat16"):
                for count in counts if model == "minilm" else [n // 5 for n in counts]:
                    given = [sys.executable, __file__, "--threads", str(threads), "--one", model, dtype, str(count)]
                    print(subprocess.run(given, check=True, capture_output=True, text=True).stdout, end="", flush=True)


def one(model: str, dtype: str, count: int, threads: int) -> None:
    """Embed into a new cache and assemble the table, as the workflow does."""
    from conceptbridge.embed.compute import fill
    from conceptbridge.study.embeddings import Embedding

    spec = minilm(dtype)
    if model != "minilm":
        spec |= {"model": model, "width": 768, "package": "none"}
        del spec["weights_sha256"]
    texts = concept_names(count)
    before = peak_megabytes()
    with tempfile.TemporaryDirectory() as cache:
        begin = time.perf_counter()
        fill(Embedding("model", spec, "0" * 64), texts, Path(cache), threads)
        wall = time.perf_counter() - begin
    name = "MiniLM" if model == "minilm" else "BERT-base size"
    print(
        f"{name:14} {dtype:9} {count:6} texts: {wall / count * 10_000:6.1f} s per 10,000 texts, loading included; peak "
        f"{peak_megabytes():.0f} MB ({before:.0f} MB before the model), load {os.getloadavg()[0]:.1f}"
    )


def peak_megabytes() -> float:
    """The most memory that this process has had."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def save_bert_base(folder: Path) -> None:
    """An encoder of BERT-base's size with random weights, and MiniLM's tokenizer, which is BERT's."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    from conceptbridge.embed.model_files import model_folder

    torch.manual_seed(0)
    BertModel(BertConfig()).save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(model_folder(minilm("float32")))).save_pretrained(folder)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--texts", type=int, default=5_000)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--scale", action="store_true", help="seconds per 10,000 texts and peak memory instead")
    p.add_argument("--counts", type=json.loads, default=[2_000, 10_000, 30_000], help="numbers of texts for --scale")
    p.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.one:
        one(a.one[0], a.one[1], int(a.one[2]), a.threads)
    elif a.scale:
        scale(a.counts, a.threads)
    else:
        ratios(a.texts, a.threads, a.rounds)
