"""Heads on frozen features: trained, with DP-SGD where asked, and the card that says what is guaranteed."""
