"""What was spent, durably, and what it comes to in epsilon and delta. Knows neither policies nor mechanisms."""
