"""The layers that networks are made of, each with its formula."""
