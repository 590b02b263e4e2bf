"""Models: where their files are, what they say, and the one definition of their layers in torch."""
