"""Stubs generated from `proto/hetero/v1` by `scripts/generate_stubs.py`: never edited by hand."""
