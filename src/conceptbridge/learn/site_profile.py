"""A site's profile, counted from its training rows of a task."""

import numpy as np

from conceptbridge.learn.rows import SiteRows
from conceptbridge.translate.profile import MAX_ANCHORS, Profile, count_profile


def profile_of(rows: SiteRows, min_cell_count: int, max_anchors: int = MAX_ANCHORS) -> Profile:
    """A site's profile from its training rows of a task; see ``profile.count_profile``."""
    training = rows.take(rows.of("train"))
    person = np.repeat(training.person_ids, np.diff(training.offsets))
    total = len(np.unique(training.person_ids))
    return count_profile(rows.keys, person, training.tokens, total, min_cell_count, max_anchors)
