"""Parts, manifests, the catalog, the call cache, pairs and exports: where things rest."""
