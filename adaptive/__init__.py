"""How deep must this input go?

Answers, from the numbers seen at an exit, whether to stop there, with thresholds and what they guarantee. Its content
comes with the work on dynamic depth; until then the package is empty and nothing imports it.
"""
