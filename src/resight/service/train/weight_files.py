"""Which file the words `weights=` and `teacher=` mean."""

from pathlib import Path

from resight.core.errors import ModelFileError
from resight.service.run.run import MODEL_FILE

OWN_WEIGHTS = "weights"
"""As a teacher: the network as it was given, whose old answers shall not be forgotten."""


def weight_file(weights: str) -> Path:
    """Return the file that the words `weights=` mean: a run folder stands for its model file.

    Raises:
        ModelFileError: if they mean a folder that holds none.
    """
    path = Path(weights)
    if weights and path.is_dir():
        if not (path / MODEL_FILE).is_file():
            raise ModelFileError(f"{weights}: is a folder without {MODEL_FILE}; name a finished run")
        return path / MODEL_FILE
    return path
