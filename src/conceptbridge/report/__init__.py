"""From the metrics of every target to joint tables, figures and one page; reads aggregates only."""
