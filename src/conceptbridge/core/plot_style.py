"""How all figures look; apart from them, so that a change of one figure draws no other rule's again."""

from typing import Any

STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "none",  # text stays text: small files, and the words can be searched
    "svg.hashsalt": "conceptbridge",  # ids that are the same in every run
}
