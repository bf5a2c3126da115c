"""Which file the words `weights=` and `teacher=` mean."""

from pathlib import Path

from resight.service.run.run import MODEL_FILE

OWN_WEIGHTS = "weights"
"""As a teacher: the network as it was given, whose old answers shall not be forgotten."""


def weight_file(weights: str) -> Path:
    """Return the file that the words `weights=` mean: a run folder stands for its model file."""
    path = Path(weights)
    return path / MODEL_FILE if path.is_dir() else path
