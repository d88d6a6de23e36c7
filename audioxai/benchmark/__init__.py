"""The benchmark: networks, fits, contaminated test sets, scores, and tables beside the published ones."""
