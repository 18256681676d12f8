"""Check all that leaves a site: every file of a package is read, by its type, before it is sent.

A file, table, column or key that is not on the list (``allowlist``) is rejected. So is a value that the site keeps to
itself (``site_secrets``), and a count below the minimum, shown or left over from those that are shown
(``residual_counts``). The message names file, column and kind of the finding, never the value.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from conceptbridge.core.errors import StudyError
from conceptbridge.exchange.egress.allowlist import PROSE
from conceptbridge.exchange.egress.documents import check_json, check_prose, check_values
from conceptbridge.exchange.egress.released_file import ReleasedFile, reject
from conceptbridge.exchange.egress.residual_counts import check_residual_counts
from conceptbridge.exchange.egress.site_secrets import SiteSecrets
from conceptbridge.exchange.egress.tables import check_csv, check_parquet
from conceptbridge.exchange.egress.weights import check_lightgbm, check_safetensors

_Check = Callable[[Path, ReleasedFile, SiteSecrets], None]


def check_egress(folder: Path, secrets: SiteSecrets, learner: str | None = None) -> list[ReleasedFile]:
    """Read every file below ``folder`` and return what leaves, in the order of their paths.

    ``learner`` decides which arrays and fields a model among the files may have; None: those of any learner.

    Raises StudyError at the first thing that must not leave: a file type or name that is not on the list, a column or
    key that is not declared, a person or visit id, a date that is not in the config, values of single rows, a count
    below the minimum, a text of few persons, a path or name of this machine.
    """
    checks = _checks(learner)
    released = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or (not path.is_file() and not path.is_dir()):
            raise StudyError(f"{path}: is not a plain file; only plain files can be checked")
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            reject(name, "its path", secrets.finding(name, program=True), "give the folder another name")
            if path.suffix not in checks:
                raise StudyError(
                    f"{name}: files of type {path.suffix or 'without a suffix'!r} cannot be checked and do not leave; "
                    f"known types: {', '.join(sorted(checks))}"
                )
            file = ReleasedFile(name)
            checks[path.suffix](path, file, secrets)
            released.append(file)
    check_residual_counts(folder, secrets.min_cell_count)
    return released


def check_about(about: Mapping[str, Any], secrets: SiteSecrets) -> None:
    """Check what a package's manifest says of it, keys and values. Raises StudyError as ``check_egress`` does."""
    check_values("the manifest", about, "about", secrets)


def _checks(learner: str | None) -> dict[str, _Check]:
    return {
        ".parquet": check_parquet,
        ".csv": check_csv,
        ".json": partial(check_json, learner=learner),
        ".safetensors": partial(check_safetensors, learner=learner),
        ".txt": partial(check_lightgbm, learner=learner),
        **dict.fromkeys(PROSE, check_prose),
    }
