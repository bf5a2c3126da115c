"""Recipes, schedules, the loop, checkpoints."""
