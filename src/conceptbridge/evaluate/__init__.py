"""From predictions to metrics with limits: the only room that sees labels and predictions together."""
