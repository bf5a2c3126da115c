"""The papers' experiments run again: trainings with one command each, figures beside the published ones."""
