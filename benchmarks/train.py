"""Training the paper's network: ours, all seeds at once, beside PyTorch as a good engineer writes it for this network.

    python benchmarks/train.py                     # the paper's budget, one core: about two minutes
    python benchmarks/train.py --plain-steps 5000  # PyTorch's version whole as well

12,000 rows of about 90 findings, present or absent, vectors of 768, batches of 32, 3 seeds x 50 x 100 steps. PyTorch's
version holds the rows as one padded tensor of tokens, multiplies the table of vectors (184 of them) by the filters once
a step in place of every occurrence, which is what a kernel of width 1 allows, takes a row's maximum, and runs the seeds
in turn; the first --plain-steps of each are timed, and AUROC is compared after as many. Times are those of the
processor, so that neighbours count little.
"""

import argparse
import os
import time

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

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


def draw(rng: np.random.Generator) -> Examples:
    """Findings, present or absent or not known, of which a few raise or lower the risk; norms are about BERT's."""
    rows = ROWS + TEST
    present = rng.random((rows, FINDINGS)) < rng.beta(2, 2, FINDINGS)
    known = rng.random((rows, FINDINGS)) < LENGTH / FINDINGS
    risk = (present & known)[:, :12] @ np.tile([0.8, -0.8], 6) - 1.5
    labels = (rng.random(rows) < 1 / (1 + np.exp(-risk))).astype(np.int8)
    vectors = rng.normal(size=(2 * FINDINGS, WIDTH)).astype(np.float32) / 2
    tokens = (2 * np.arange(FINDINGS) + present)[known]
    return Examples(vectors, tokens, np.concatenate([[0], np.cumsum(known.sum(axis=1))]), labels)


class Projected(nn.Module):
    """The network on a table of vectors, of which the last is padding."""

    def __init__(self, vectors: np.ndarray) -> None:
        super().__init__()
        self.table = torch.cat([torch.from_numpy(vectors), torch.zeros(1, WIDTH)])
        self.filters, self.head = nn.Linear(WIDTH, SETTINGS["filters"]), nn.Linear(SETTINGS["filters"], 2)
        self.dropout = nn.Dropout(SETTINGS["dropout"])
        self.known = torch.ones(len(self.table), 1)
        self.known[-1] = 0

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.filters(self.table)) * self.known
        return self.head(self.dropout(features[tokens].amax(dim=1)))


def plain(rows: Examples, seed: int, steps: int) -> tuple[float, float]:
    """CPU seconds of ``steps`` steps, and AUROC after them."""
    torch.manual_seed(seed)
    model = Projected(rows.vectors)
    tokens = torch.full((len(rows.labels), int(rows.lengths.max())), len(rows.vectors))
    held = np.arange(tokens.shape[1]) < rows.lengths[:, None]
    tokens[torch.from_numpy(held)] = torch.from_numpy(rows.tokens)
    labels = torch.from_numpy(rows.labels.astype(np.int64))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9, nesterov=True, weight_decay=0.001)
    begun, done = time.process_time(), 0
    while done < steps:
        for batch in torch.randperm(ROWS).split(SETTINGS["batch"]):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(tokens[batch]), labels[batch]).backward()
            optimiser.step()
            done += 1
            if done == steps:
                break
    seconds = time.process_time() - begun
    model.eval()
    with torch.no_grad():
        scores = torch.cat([torch.softmax(model(some), 1)[:, 1] for some in tokens[ROWS:].split(1_000)])
    return seconds, float(roc_auc_score(rows.labels[ROWS:], scores))


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
        help="steps of each seed that PyTorch takes, a multiple of 100",
    )
    steps = parser.parse_args().plain_steps
    rows = draw(np.random.default_rng(1))
    train, test = np.arange(ROWS), np.arange(ROWS, ROWS + TEST)
    print(f"{ROWS} rows, {rows.lengths.mean():.0f} tokens per row, {rows.labels.mean():.0%} events, one thread")
    whole, whole_auroc = ours(rows, train, test, STEPS)
    each = [plain(rows, seed, steps) for seed in range(1, SEEDS + 1)]
    _, same = ours(rows, train, test, steps)
    theirs = sum(seconds for seconds, _ in each)
    print(f"ours:  {SEEDS} seeds x {STEPS} steps {whole:.1f} s, {1000 * whole / STEPS:.2f} ms per step of all seeds")
    print(f"PyTorch: {SEEDS} seeds x {steps} steps {theirs:.1f} s, so {theirs * STEPS / steps:.0f} s for {STEPS}")
    print(f"ratio: {theirs * STEPS / steps / whole:.0f}")
    print(f"AUROC after {steps} steps: ours {', '.join(f'{a:.3f}' for a in same)};", end=" ")
    print(f"PyTorch {', '.join(f'{a:.3f}' for _, a in each)}")
    print(f"AUROC of ours after {STEPS}: {', '.join(f'{a:.3f}' for a in whole_auroc)}")


if __name__ == "__main__":
    main()
