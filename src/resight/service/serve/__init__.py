"""A run that answers requests, and the desk where boxes are corrected."""
