"""Many objects a picture: where they are, and what."""
