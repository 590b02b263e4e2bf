"""What can be proved afterwards: the audit log, receipts, and the key that signs both. Knows nothing of content."""
