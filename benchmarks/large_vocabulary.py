"""Training the paper's network on a large vocabulary: ours against plain PyTorch, same rows, same steps, one core.

    python benchmarks/large_vocabulary.py                             # half a minute
    python benchmarks/large_vocabulary.py --width 3072 --steps 100    # vectors as wide as the widest embeddings
    python benchmarks/large_vocabulary.py --tune-head                 # the convolution frozen

Tokens are drawn at random, so that nearly all of a batch differ. Times are CPU seconds of one training run without
imports and compilation; the losses compared are those on every fifth row, at the start and after every 50 steps.
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from conceptbridge.learn.networks.cnn import ENGINE
from conceptbridge.learn.rows import Examples
from conceptbridge.learn.search import Part, Run, cross_entropy

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "unit"))
import plain_networks

#: steps between two looks at the loss
EVERY = 50
SETTINGS = {
    "filters": 100,
    "dropout": 0.5,
    "batch": 32,
    "momentum": 0.9,
    "weight_decay": 0.001,
    "learning_rate": 0.001,
    "checks_per_pass": 1,
}


def steps(count: int, every: int = EVERY) -> dict[str, int]:
    """Settings of so many steps, in passes of ``every``."""
    passes = count // every
    return {"min_pass_steps": every, "max_pass_steps": every, "max_passes": passes, "patience": passes}


def draw(tokens: int, rows: int, length: int, width: int) -> Examples:
    """Rows whose tokens raise or lower the risk; the vectors' norms are about those of standardised ones."""
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(tokens, width)).astype(np.float32) * np.float32(14 / np.sqrt(width))
    held = rng.integers(0, tokens, (rows, length))
    risk = vectors[:, 0][held].max(axis=1)
    labels = rng.random(rows) < 1 / (1 + np.exp(-4 * (risk - np.median(risk)) / risk.std()))
    return Examples(vectors, held.ravel(), np.arange(rows + 1) * length, labels.astype(np.int8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("tokens", 20_000), ("rows", 10_000), ("length", 100), ("width", 384), ("steps", 750)):
        parser.add_argument(f"--{name}", type=int, default=value, help=f"default: {value}")
    parser.add_argument("--tune-head", action="store_true", help="train the head alone")
    asked = parser.parse_args()
    examples = draw(asked.tokens, asked.rows, asked.length, asked.width)
    cut = asked.rows * 4 // 5
    part = Part(np.arange(cut), np.arange(cut, asked.rows))
    checked = Examples(
        examples.vectors,
        examples.tokens[cut * asked.length :],
        examples.offsets[: asked.rows - cut + 1],
        examples.labels[cut:],
    )
    run = Run(1, SETTINGS | steps(asked.steps), part)
    # all is compiled by these
    start = ENGINE.fit(examples, [Run(1, run.settings | steps(1, 1) | {"learning_rate": 1e-9}, part)])
    plain = plain_networks.Plain(plain_networks.cnn, examples)
    weights = {name: array[0] for name, array in start.weights.items()}
    list(plain.train(weights, Run(1, run.settings | steps(1, 1), part), asked.tune_head))

    marks = [*range(0, asked.steps, EVERY), asked.steps]
    begun = time.process_time()
    _, along = ENGINE.tune(start, examples, [run], asked.tune_head, [mark / asked.steps for mark in marks])
    ours = time.process_time() - begun
    begun = time.process_time()
    wanted = [loss for _, loss in plain.train(weights, run, asked.tune_head)]
    theirs = time.process_time() - begun

    losses = [cross_entropy(checked.labels, ENGINE.predict(network, checked)[0]) for network in along]
    print(f"{asked.tokens} tokens x {asked.rows} rows x {asked.length} tokens per row, width {asked.width}", end=", ")
    print(f"{asked.steps} steps of {SETTINGS['batch']} rows, one core")
    print(f"ours:  {ours:6.2f} CPU s, last loss {losses[-1]:.6f}")
    print(f"plain: {theirs:6.2f} CPU s, last loss {wanted[-1]:.6f}")
    print(f"ratio: {theirs / ours:.1f}; losses differ by at most {np.abs(np.subtract(losses, wanted)).max():.1e}")


if __name__ == "__main__":
    main()
