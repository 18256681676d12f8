"""Training the paper's network: ours, all seeds at once, against PyTorch as published code feeds it.

    python benchmarks/train.py                     # the paper's budget, one core: about two minutes
    python benchmarks/train.py --plain-steps 5000  # the plain version whole as well: about half an hour

12,000 rows of about 90 findings, present or absent, vectors of 768, batches of 32, 3 seeds x 50 x 100 steps. The
plain version reads its rows one by one from a wide pandas frame through a DataLoader, looks up each finding's vector,
convolves every occurrence, and runs the seeds in turn; the first --plain-steps of each seed are timed, and AUROC is
compared after as many. Times are those of the processor, so that neighbours count little.
"""

import argparse
import os
import time

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.utils.data import DataLoader, Dataset

from conceptbridge.learn.networks.cnn import ENGINE
from conceptbridge.learn.rows import Examples
from conceptbridge.learn.search import Part, Run

ROWS, TEST, FINDINGS, LENGTH, WIDTH, SEEDS, STEPS = 12_000, 4_000, 92, 90, 768, 3, 5_000
SETTINGS = {
    "filters": 100,
    "dropout": 0.5,
    "batch": 32,
    "momentum": 0.9,
    "weight_decay": 0.001,
    "learning_rate": 0.001,
    "min_pass_steps": 100,
    "max_pass_steps": 100,
    "checks_per_pass": 1,
    "patience": 50,
}


def draw(rng: np.random.Generator) -> tuple[pd.DataFrame, Examples]:
    """A wide frame of findings, P present, A absent or M missing, and a label; and the same rows as tokens. A few
    findings raise or lower the risk; the vectors' norms are about BERT's."""
    rows = ROWS + TEST
    present = rng.random((rows, FINDINGS)) < rng.beta(2, 2, FINDINGS)
    known = rng.random((rows, FINDINGS)) < LENGTH / FINDINGS
    risk = (present & known)[:, :12] @ np.tile([0.8, -0.8], 6) - 1.5
    labels = (rng.random(rows) < 1 / (1 + np.exp(-risk))).astype(np.int8)
    frame = pd.DataFrame(
        np.where(known, np.where(present, "P", "A"), "M"), columns=[f"finding {i}" for i in range(FINDINGS)]
    )
    frame["label"] = labels
    vectors = rng.normal(size=(2 * FINDINGS, WIDTH)).astype(np.float32) / 2
    tokens = (2 * np.arange(FINDINGS) + present)[known]
    return frame, Examples(vectors, tokens, np.concatenate([[0], np.cumsum(known.sum(axis=1))]), labels)


class Frame(Dataset):
    """Rows of a pandas frame, the vector of each finding looked up by its name and state, zeros for a missing one."""

    def __init__(self, frame: pd.DataFrame, vectors: np.ndarray) -> None:
        self.frame, self.zero = frame, np.zeros(WIDTH, np.float32)
        names = [name for name in frame.columns if name != "label"]
        self.vectors = {
            (name, state): vectors[2 * i + k] for i, name in enumerate(names) for k, state in enumerate("AP")
        }

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        row = self.frame.iloc[i]
        findings = row.drop("label")
        vectors = [self.vectors.get((name, state), self.zero) for name, state in findings.items()]
        return torch.tensor(np.stack(vectors)), torch.tensor((findings != "M").to_numpy(bool)), int(row["label"])


class Plain(nn.Module):
    """The network as one would write it down."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.head = nn.Conv1d(WIDTH, SETTINGS["filters"], 1), nn.Linear(SETTINGS["filters"], 2)
        self.dropout = nn.Dropout(SETTINGS["dropout"])

    def forward(self, padded: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.convolution(padded.transpose(1, 2))) * mask[:, None]
        return self.head(self.dropout(features.amax(dim=2)))


def plain(frame: pd.DataFrame, vectors: np.ndarray, seed: int, steps: int) -> tuple[float, float]:
    """CPU seconds of ``steps`` steps, and AUROC after them."""
    torch.manual_seed(seed)
    model = Plain()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9, nesterov=True, weight_decay=0.001)
    loader = DataLoader(Frame(frame[:ROWS], vectors), batch_size=SETTINGS["batch"], shuffle=True)
    begun, done = time.process_time(), 0
    while done < steps:
        for padded, mask, label in loader:
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(padded, mask), label).backward()
            optimiser.step()
            done += 1
            if done == steps:
                break
    seconds = time.process_time() - begun
    model.eval()
    with torch.no_grad():
        tested = DataLoader(Frame(frame[ROWS:], vectors), batch_size=256)
        scores = [torch.softmax(model(padded, mask), 1)[:, 1] for padded, mask, _ in tested]
    return seconds, float(roc_auc_score(frame["label"][ROWS:], torch.cat(scores)))


def ours(rows: Examples, train: np.ndarray, test: np.ndarray, steps: int) -> tuple[float, list[float]]:
    """CPU seconds of all seeds, early stopping looked at every 100 steps, and the AUROC of each."""
    check = np.empty(0, np.int64) if steps < STEPS else train[-1000:]
    begun = time.process_time()
    runs = [Run(seed, SETTINGS | {"max_passes": steps // 100}, Part(train, check)) for seed in range(1, SEEDS + 1)]
    network = ENGINE.fit(rows, runs)
    seconds = time.process_time() - begun
    return seconds, [float(roc_auc_score(rows.labels[test], p[test])) for p in ENGINE.predict(network, rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--plain-steps",
        type=int,
        default=400,
        help="steps of each seed that the plain version takes, a multiple of 100",
    )
    steps = parser.parse_args().plain_steps
    frame, rows = draw(np.random.default_rng(1))
    train, test = np.arange(ROWS), np.arange(ROWS, ROWS + TEST)
    print(f"{ROWS} rows, {rows.lengths.mean():.0f} tokens per row, {rows.labels.mean():.0%} events, one thread")
    whole, whole_auroc = ours(rows, train, test, STEPS)
    each = [plain(frame, rows.vectors, seed, steps) for seed in range(1, SEEDS + 1)]
    _, same = ours(rows, train, test, steps)
    theirs = sum(seconds for seconds, _ in each)
    print(f"ours:  {SEEDS} seeds x {STEPS} steps {whole:.1f} s, {1000 * whole / STEPS:.2f} ms per step of all seeds")
    print(f"plain: {SEEDS} seeds x {steps} steps {theirs:.1f} s, so {theirs * STEPS / steps:.0f} s for {STEPS}")
    print(f"ratio: {theirs * STEPS / steps / whole:.0f}")
    print(f"AUROC after {steps} steps: ours {', '.join(f'{a:.3f}' for a in same)};", end=" ")
    print(f"plain {', '.join(f'{a:.3f}' for _, a in each)}")
    print(f"AUROC of ours after {STEPS}: {', '.join(f'{a:.3f}' for a in whole_auroc)}")


if __name__ == "__main__":
    main()
