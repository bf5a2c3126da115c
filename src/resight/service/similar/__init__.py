"""The pictures of a data set that are nearest to given ones."""
