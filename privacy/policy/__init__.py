"""What a policy says: its file, read and checked, and what it decides for a request. Spends and samples nothing."""
