"""Who may learn what, and how much is left to spend?

Answers whether a request is admitted, opened and released under a tenant's policy, and keeps the budget. Its content
comes with the work on privacy policies; until then the package is empty and nothing imports it.
"""
