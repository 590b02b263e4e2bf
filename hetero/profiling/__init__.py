"""Measures what a plan is made of: segments of a model on devices, the links between them, memory, contention."""
