"""Prompts, each beside its parser."""
