"""Train deep residual image classifiers, prove how good they are, and show what they look at."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from resight.data.open import open_dataset as open_dataset
    from resight.models.zoo import create_model as create_model
    from resight.models.zoo import list_models as list_models
    from resight.saliency.explanation import Explanation as Explanation
    from resight.saliency.methods import explain as explain
    from resight.service.run.run import open_run as open_run
    from resight.service.test.predict import predict as predict
    from resight.service.test.test import test as test
    from resight.service.train.train import train as train

# Public names and where they live; loaded on first use, because torch takes seconds to import.
_HOMES = {
    "Explanation": "resight.saliency.explanation",
    "create_model": "resight.models.zoo",
    "explain": "resight.saliency.methods",
    "list_models": "resight.models.zoo",
    "open_dataset": "resight.data.open",
    "open_run": "resight.service.run.run",
    "predict": "resight.service.test.predict",
    "test": "resight.service.test.test",
    "train": "resight.service.train.train",
}

__all__ = [
    "Explanation",
    "create_model",
    "explain",
    "list_models",
    "open_dataset",
    "open_run",
    "predict",
    "test",
    "train",
]


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'resight' has no attribute {name!r}")
