"""Networks as tables of stages, their weights and their cost."""
