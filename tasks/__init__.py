"""Prefect tasks, one module a stage: the verbs."""
