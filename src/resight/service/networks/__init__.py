"""The table of networks: listed, summed up, compared."""
