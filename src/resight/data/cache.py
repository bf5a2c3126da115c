"""Where downloads, and what is learned of the user's files, are kept."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the user's cache folder for this product; it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "resight"


def index_folder() -> Path:
    """Return the folder for indexes that cannot be stored next to their files."""
    return cache_folder() / "indexes"
