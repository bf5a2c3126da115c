"""One file per family of networks: the table of its paper, its blocks, its names."""
