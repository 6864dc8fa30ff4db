"""Records, settings and the constraint algebra: the nouns."""
