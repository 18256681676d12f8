"""Receive the profile of a source that has sent bundles: what its tokens keep company with."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from conceptbridge.core.atomic_files import atomic_file
from conceptbridge.core.errors import StudyError
from conceptbridge.exchange.receive.aggregates import check_table
from conceptbridge.exchange.receive.bundles import PROFILE, unpacked
from conceptbridge.translate.profile_file import read_profile


def receive_profile(bundles: Sequence[Path], source: str, min_cell_count: int, out: Path) -> None:
    """Write the profile that ``source`` has sent in one of its ``bundles`` of a task.

    Raises StudyError where none has one, it is not a profile, or its counts were hidden by another minimum.
    """
    for bundle in bundles:
        with tempfile.TemporaryDirectory() as temporary:
            files, about = unpacked(bundle, {"source": source}, Path(temporary) / "files")
            profile = files / PROFILE
            if not profile.is_file():
                continue
            if about["min_cell_count"] != min_cell_count:
                raise StudyError(
                    f"{bundle}: {PROFILE}: {source} hides counts under {about['min_cell_count']}, and this study under "
                    f"{min_cell_count} (config: min_cell_count); a profile can be read with its own minimum alone"
                )
            check_table(profile, f"{bundle}: {PROFILE}", {})
            read_profile(profile, min_cell_count, shown=f"{bundle}: {PROFILE}")
            with atomic_file(out) as file:
                shutil.copyfile(profile, file)
            return
    raise StudyError(
        f"{source} has sent no profile of its tokens, so none of its models can be translated: ask it for bundles of "
        "one-hot models, made by a study that has `translated` among its embeddings"
    )
