"""One file for each published experiment."""
