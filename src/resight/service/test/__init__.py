"""Test runs on a split, and name what pictures show."""
