"""How fast concept names become vectors, beside the obvious ways: one text at a time, and SentenceTransformer.encode.

    python benchmarks/embed.py                     # ratios on 5,000 names, MiniLM
    python benchmarks/embed.py --engines           # beside ONNX Runtime and OpenVINO (install those, and onnx)
    python benchmarks/embed.py --scale             # seconds per 10,000 texts and peak memory: MiniLM, BERT-base size

Every way runs in turn, ``--rounds`` times, in this process on the same threads; a ratio is of the least times. The
loop runs over every tenth text in order of length, and its time is told tenfold: so it has its turn in every round.
Processor time is told beside wall time: on a machine that others use, it is the steadier of the two.

Engines get the same batches on one thread each, and take turns batch by batch, so that a machine that is slow for a
while is slow for all. Each batch's time is its least of all rounds. Tokens are read and batches made beforehand, once;
what an engine compiles for a shape counts. Each engine is what a good engineer would write:

- PyTorch's own float32: the library's forward pass without gradients, with its fused attention, on batches of texts of
  one length, so that nothing is spent on padding. Its memory is kept in this process, too, as conceptbridge asks.
- ONNX Runtime: model, pooling and norm exported as one graph, all of its optimisations on, one session for all shapes.
- OpenVINO: the same graph, compiled for one stream, in the precision asked for where the processor has it.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

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


def engines(count: int, rounds: int) -> None:
    """Processor seconds of each engine on the same batches, and the least cosine with PyTorch's own float32."""
    import torch

    from conceptbridge.embed.models import LocalModel
    from conceptbridge.embed.packed_linear import has_bfloat16, is_faster_here

    def load(dtype: str) -> LocalModel:
        encoder = load_encoder(minilm(dtype))
        assert isinstance(encoder, LocalModel)
        return encoder

    with patch("conceptbridge.embed.models.is_faster_here", return_value=False):
        plain = load("float32")
    tokens, ends = plain._tokens(concept_names(count))
    batches = [[tokens[ends[i] : ends[i + 1]] for i in batch] for batch in plain._batches(np.diff(ends))]
    print(f"{count} distinct concept names, MiniLM, {len(batches)} batches, one thread; {processor()}")
    packed, native = is_faster_here(), has_bfloat16()
    print(f"PyTorch {torch.__version__}; oneDNN packed: {packed}; bfloat16 instructions: {native}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for dtype in ("float32", "bfloat16"):
            ways: dict[str, Callable[[Any], Any]] = {"PyTorch's own float32": plain.vectors}
            ways[f"conceptbridge {dtype}"] = load(dtype).vectors
            ways |= other_engines(Path(folder) / "minilm.onnx", plain, dtype)
            for way in ways.values():
                way(batches[len(batches) // 2])
            made: dict[str, list[Any]] = {}
            least = {name: np.full(len(batches), np.inf) for name in ways}
            for _ in range(rounds):
                made = {name: [] for name in ways}
                for i, batch in enumerate(batches):
                    for name in np.roll(list(ways), i).tolist():  # each engine follows each other one
                        begin = time.process_time()
                        made[name].append(ways[name](batch))
                        least[name][i] = min(least[name][i], time.process_time() - begin)
            used = {name: float(of_batches.sum()) for name, of_batches in least.items()}
            reference = torch.nn.functional.normalize(torch.from_numpy(np.concatenate(made["PyTorch's own float32"])))
            for name in ways:
                found = torch.nn.functional.normalize(torch.from_numpy(np.concatenate(made[name])))
                cosine = float((found * reference).sum(dim=1).min())
                ratio = used[f"conceptbridge {dtype}"] / used[name]
                print(
                    f"{name:24} {used[name]:7.2f} s processor, least cosine {cosine:.7f}; conceptbridge {dtype} "
                    f"takes {ratio:.2f} times as long",
                    flush=True,
                )
    print(f"load at the end {os.getloadavg()[0]:.1f}")


def other_engines(file: Path, plain: Any, dtype: str) -> dict[str, Callable[[Any], Any]]:
    """ONNX Runtime and OpenVINO on one thread with all optimisations of theirs, where they are installed.

    Both run the model and its pooling as one graph. ONNX Runtime has no bfloat16 on a processor. Its own fusions are
    used as they are: with those of ``onnxruntime.transformers.optimizer`` beforehand it took a tenth longer.
    """
    import torch

    if missing := [name for name in ("onnx", "onnxruntime", "openvino") if find_spec(name) is None]:
        print(f"not installed, and so not compared: {', '.join(missing)}")
        return {}
    import onnxruntime
    import openvino
    from transformers import AutoModel

    from conceptbridge.embed.model_files import model_folder
    from conceptbridge.embed.models import pool

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            folder = model_folder(minilm("float32"))
            self.model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            states = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            return torch.nn.functional.normalize(pool(states, attention_mask, "mean"))

    names = ["input_ids", "attention_mask"]
    if not file.exists():
        mask = torch.ones(3, 9, dtype=torch.int64)
        mask[0, 5:] = 0
        torch.onnx.export(
            Pooled(),
            (torch.arange(27).view(3, 9) + 1_000, mask),
            str(file),
            input_names=names,
            output_names=["vectors"],
            dynamic_axes={name: {0: "texts", 1: "tokens"} for name in names} | {"vectors": {0: "texts"}},
            opset_version=17,
            dynamo=False,
        )

    def features(batch: Any) -> dict[str, Any]:
        return {name: tensor.numpy() for name, tensor in plain._padded(batch).items()}

    hint = {"float32": "f32", "bfloat16": "bf16"}[dtype]  # f32 has to be said where the processor has bfloat16
    asked = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": hint}
    request = openvino.Core().compile_model(str(file), "CPU", asked).create_infer_request()
    ways = {f"OpenVINO {openvino.__version__[:6]}": lambda batch: request.infer(features(batch))[0].copy()}
    if dtype == "float32":
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        ways[f"ONNX Runtime {onnxruntime.__version__}"] = lambda batch: session.run(None, features(batch))[0]
    return ways


def processor() -> str:
    """The processor's name, and its family and model: a virtual machine's name says neither."""
    file = Path("/proc/cpuinfo")
    if not file.exists():
        return platform.processor()
    told = dict(map(str.strip, line.split(":", 1)) for line in file.read_text().splitlines() if ":" in line)
    return f"{told.get('model name')}, family {told.get('cpu family')}, model {told.get('model')}"


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
    p.add_argument("--engines", action="store_true", help="beside ONNX Runtime and OpenVINO instead")
    p.add_argument("--counts", type=json.loads, default=[2_000, 10_000, 30_000], help="numbers of texts for --scale")
    p.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.one:
        one(a.one[0], a.one[1], int(a.one[2]), a.threads)
    elif a.engines:
        engines(a.texts, a.rounds)
    elif a.scale:
        scale(a.counts, a.threads)
    else:
        ratios(a.texts, a.threads, a.rounds)
