"""Does the cnn gain from its windows? Filters that read all windows alike, a maximum in each, beside one bag.

    python benchmarks/cnn_windows.py --folder F
    python benchmarks/cnn_windows.py --folder F --embeddings minilm onehot --seeds 3

The rows are those of benchmarks/local.py (riverside and lakeshore, 20,000 persons), in the default windows, with
values. In one bag a filter has weights for every window and one maximum over the whole record. Each is searched and
trained at both hospitals (local), and used unchanged at the other (direct). Printed: AUROC, AUPRC and loss, means over
the seeds. The choice between them was made on validation rows.
"""

import argparse
import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import local
import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from conceptbridge import layout
from conceptbridge.learn import rows
from conceptbridge.learn.run_arm import run_arm
from conceptbridge.plan import Plan

OVER_WINDOWS = rows.PlacedVectors.over_windows


def pool(in_windows: bool) -> None:
    """Let networks have a maximum per window, one-hot as well, or one of all."""
    rows.windows_of = lambda windows, _: len(windows.days) if in_windows else 1  # type: ignore[attr-defined]
    rows.PlacedVectors.over_windows = OVER_WINDOWS if in_windows else lambda self: self  # type: ignore[method-assign]


def measured(predictions: Path, split: str) -> list[float]:
    """AUROC, AUPRC and loss on a split, means over the seeds."""
    found = pd.read_parquet(predictions)
    each = [
        [measure(of["label"], of["probability"]) for measure in (roc_auc_score, average_precision_score, log_loss)]
        for _, of in found[found["split"] == split].groupby("seed")
    ]
    return [float(mean) for mean in np.mean(each, axis=0)]


def table(plan: Plan, task: str, results: Path) -> pd.DataFrame:
    """One row per embedding, strategy, hospital, split and way of pooling."""
    result = []
    for e in plan.embeddings:
        for pooling in ("one bag", "windows"):
            pool(pooling == "windows")
            places = results.parent / pooling.replace(" ", "-")
            places.mkdir(exist_ok=True)
            for kind in results.iterdir():
                if kind.name != "arms" and not (places / kind.name).exists():
                    (places / kind.name).symlink_to(kind.resolve())
            for strategy in ("local", "direct"):
                for target in plan.study.own:
                    out = layout.arm(places, task, e.id, "cnn", strategy, target)
                    if not out.is_dir():
                        out.parent.mkdir(parents=True, exist_ok=True)
                        run_arm(plan.arm(task, e.id, "cnn", strategy, target), places, out)
                    for split in ("validation", "test"):
                        auroc, auprc, loss = measured(out / "predictions.parquet", split)
                        about = {"embedding": e.name, "strategy": strategy, "at": target, "split": split}
                        found = {"AUROC": f"{auroc:.4f}", "AUPRC": f"{auprc:.4f}", "loss": f"{loss:.4f}"}
                        result.append(about | {"pooling": pooling} | found)
    return pd.DataFrame(result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the study lies")
    parser.add_argument("--embeddings", nargs="+", default=["minilm"])
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    given = argparse.Namespace(
        arms=[f"cnn:{e}" for e in asked.embeddings], persons=20000, seed=1, data=None, seeds=asked.seeds, season=False
    )
    config, plan = local.plan_of(given, ["local", "direct"])
    [task] = plan.tasks
    folder = asked.folder / "20000-1"
    local.make_rows(config, plan, task, folder)
    print(table(plan, task, folder / "results").to_string(index=False))


if __name__ == "__main__":
    main()
