"""One file for each published experiment; each can be run as a module."""
