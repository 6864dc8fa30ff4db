"""``rpo browse``: the pairs of a run in a web browser of this machine, one at a time."""
