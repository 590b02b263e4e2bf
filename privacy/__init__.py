"""Who may learn what, and how much is left to spend?

Answers whether a request is admitted, opened and released under a policy, and keeps the budget. Begin to read with
`types` (the nouns), `policy.decide` (the decision) and `guard` (what every request passes). Importing this imports no
library.
"""
