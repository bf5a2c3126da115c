"""The table of networks: listed, summarized, compared."""
