"""Many arms measured, in one process or several."""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from threadpoolctl import threadpool_limits

from conceptbridge.evaluate.arm_result import ArmResult
from conceptbridge.evaluate.measure import ArmEvaluator, Context
from conceptbridge.evaluate.predictions import read_arm
from conceptbridge.evaluate.schemas import Arm


def measure_folders(context: Context, folders: Sequence[tuple[Arm, Path]], processes: int) -> Iterator[list[ArmResult]]:
    """Measure the arms in each folder, in order; a folder's arm gets its ``source`` from what the folder holds."""
    if processes <= 1 or len(folders) < 2 * processes:
        evaluator = ArmEvaluator(context)
        # products with the weights are small: threads of their own would wait for each other
        with threadpool_limits(1):
            for arm, folder in folders:
                yield _measure_folder(evaluator, arm, folder)
        return
    # processes, not threads: most of the time goes into many short calls. Spawned, as Arrow has threads of its own
    with ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=_start, initargs=(context,)
    ) as pool:
        yield from pool.map(_measure_in_worker, *zip(*folders, strict=True), chunksize=1)


_evaluator: ArmEvaluator | None = None


def _start(context: Context) -> None:
    global _evaluator  # one per process: the weights are large
    threadpool_limits(1)
    _evaluator = ArmEvaluator(context)


def _measure_in_worker(arm: Arm, folder: Path) -> list[ArmResult]:
    assert _evaluator is not None
    return _measure_folder(_evaluator, arm, folder)


def _measure_folder(evaluator: ArmEvaluator, arm: Arm, folder: Path) -> list[ArmResult]:
    return [
        evaluator.measure(arm._replace(source=predictions.source), predictions)
        for predictions in read_arm(folder, evaluator.context.predicted)
    ]
