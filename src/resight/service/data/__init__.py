"""Data sets looked over, packed, and drawn as they are augmented."""
