"""One reader for each layout in which people keep pictures."""
