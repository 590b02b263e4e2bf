"""Exits inside a model: heads, their training, their files, and their calibration through a started pipeline.

The arithmetic of stopping is `adaptive`'s; here it meets models, stages and files.
"""
