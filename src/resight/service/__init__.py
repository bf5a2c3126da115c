"""One function for each task of a user."""
