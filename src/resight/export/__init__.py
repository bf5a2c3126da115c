"""A network with its preprocessing and its map in one file, and that file as a network."""
