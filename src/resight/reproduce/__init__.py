"""Reproduction of published experiments: one command each, our figures compared with the published ones."""
