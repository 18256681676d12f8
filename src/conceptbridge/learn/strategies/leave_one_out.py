"""Leave-one-out: trained on the training rows of all other sites."""

from conceptbridge.learn.strategies.several_sites import SeveralSites


class LeaveOneOut(SeveralSites):
    """Trained on the training rows of all other sites, whose own validation rows decide what is kept: no label of the
    target is seen, and all targets that are no source have the same model."""

    name = "leave-one-out"
    source = "others"
    same_for_other_targets = True
    label = "the other sites' {model}, without this site's rows"
    sentence = "trained on all other sites' training rows"
