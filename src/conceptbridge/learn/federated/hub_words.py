"""Sites that have no code in common: each reads its rows in the words of one hub before it takes part.

What the hub's tokens keep company with, which a translation needs, has left the hub already (``translate``).
"""

from multiprocessing.connection import Connection
from pathlib import Path

from conceptbridge.learn.federated.processes import serve
from conceptbridge.learn.translated_arm import in_words_of_hub


def serve_in_words_of_hub(pipe: Connection, job: str, results: Path, site: str) -> None:
    """Answer as ``processes.serve`` does, for a site whose rows are read so."""
    serve(pipe, job, results, site, in_words_of_hub)
