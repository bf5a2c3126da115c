"""The papers' experiments run again: one command each, our figures compared with the published ones."""
