"""Are two pictures of the same person?"""
