"""Test protocols and their figures."""
