"""The `resight` command."""
