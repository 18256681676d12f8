"""Training the networks: steps per second and the cost of a pass over the rows, on one core and a GPU if there is one.

    python benchmarks/networks.py                       # 4,000 rows, a minute or two
    python benchmarks/networks.py --rows 130000 --steps 0    # a whole pass of each

Rows of about 20 events in a year, of 2,000 tokens with vectors of 384; the defaults of `preset: fair`.
Times on a core are those of the processor, so that neighbours count little. The cnn has no GPU code: its steps are
compiled, and shorter than a call of a GPU. `--events` and `--width` give other rows.
"""

import argparse
import os
import resource
import time
from collections.abc import Iterator

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

from conceptbridge.learn.networks.descent import steps_per_pass
from conceptbridge.learn.networks.event_engine import BUCKET
from conceptbridge.learn.registry import learner
from conceptbridge.learn.rows import Examples
from conceptbridge.learn.search import Part, Run

TOKENS = 2_000


def draw(rows: int, events: float, width: int) -> Examples:
    """Rows of about so many events, the outcome drawn at random."""
    rng = np.random.default_rng(1)
    lengths = rng.gamma(4, events / 4, rows).astype(np.int64)
    count = int(lengths.sum())
    values = np.where(rng.random(count) < 0.3, rng.normal(size=count), np.nan).astype(np.float32)
    vectors = rng.normal(size=(TOKENS, width)).astype(np.float32) * np.float32(14 / np.sqrt(width))
    tokens = (TOKENS * rng.random(count) ** 3).astype(np.int64)  # a few are in most rows
    days = -rng.integers(0, 366, count).astype(np.int16)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Examples(vectors, tokens, offsets, rng.integers(0, 2, rows).astype(np.int8), days, values)


def measured(rows: Examples, steps: int, devices: list[str]) -> Iterator[str]:
    """A line per network and device."""
    for name in ("cnn", "transformer"):
        one = learner(name)
        given = {key: value for key, value in one.default("fair").items() if key not in one.tuning}
        given = {key: value[0] if isinstance(value, list) else value for key, value in given.items()}
        whole = steps_per_pass(len(rows), given)
        taken = steps or whole
        pass_of = {"min_pass_steps": taken, "max_pass_steps": taken, "max_passes": 1, "patience": 1}
        part = Part(np.arange(len(rows)), np.empty(0, np.int64))
        for device in devices if name == "transformer" else ["cpu"]:
            available = torch.cuda.is_available
            torch.cuda.is_available = lambda device=device: device == "cuda"
            one.fit(rows, [Run(1, given | pass_of | {"min_pass_steps": 1, "max_pass_steps": 1}, part)])  # compiles
            wall, cpu = time.perf_counter(), time.process_time()
            one.fit(rows, [Run(1, given | pass_of, part)])
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            torch.cuda.is_available = available
            seconds = cpu if device == "cpu" else wall
            yield (
                f"{name:12s} {device:5s} batch {given['batch']:3d}: {taken / seconds:8.1f} steps/s, "
                f"{seconds / taken * whole:7.1f} {'CPU s' if device == 'cpu' else 's'} per pass of {whole} steps, "
                f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2:.2f} GiB"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_000)
    parser.add_argument("--events", type=float, default=20, help="per row, on average")
    parser.add_argument("--width", type=int, default=384, help="of the tokens' vectors")
    parser.add_argument("--steps", type=int, default=60, help="that are timed of each; 0: a whole pass")
    parser.add_argument("--bucket", type=int, default=BUCKET["cpu"], help="rows that are padded to one length")
    asked = parser.parse_args()
    BUCKET["cpu"] = asked.bucket
    rows = draw(asked.rows, asked.events, asked.width)
    print(f"{asked.rows} rows, {rows.lengths.mean():.1f} events per row, vectors of {asked.width}")
    for line in measured(rows, asked.steps, ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]):
        print(line, flush=True)


if __name__ == "__main__":
    main()
