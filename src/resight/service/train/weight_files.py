"""Which file the words `weights=` and `teacher=` mean."""

from pathlib import Path
from typing import Any

from resight.core.errors import ModelFileError
from resight.models.modelfile import is_model_file, load_header
from resight.models.weights import OFFICIAL
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
            raise ModelFileError(f"{weights}: is a folder without {MODEL_FILE}; give a finished run")
        return path / MODEL_FILE
    return path


def runs_behind(weights: str, teacher: str) -> list[tuple[str, dict[str, Any]]]:
    """Return name and header of each run that a training starts from or listens to.

    Args:
        weights: the setting `weights`; official weights and files of others are no runs.
        teacher: the setting `teacher`.
    """
    words = {"weights": weights, "teacher": teacher if teacher != OWN_WEIGHTS else ""}
    files = {
        f"{key}={word}": weight_file(word) for key, word in words.items() if word and word not in OFFICIAL
    }
    return [(name, load_header(path)) for name, path in files.items() if is_model_file(path)]
