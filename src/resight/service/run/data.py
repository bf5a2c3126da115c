"""The data that a run answers for: those that it was trained on, or others."""

from resight.core.errors import DataError
from resight.data.dataset import Dataset, fingerprint
from resight.data.open import open_dataset
from resight.data.splitting import with_validation
from resight.service.run.run import Run, absolute


def dataset_of(run: Run, data: str | None, data_root: str | None = None) -> Dataset:
    """Open a data set for a run.

    Without `data` it is the one that the run was trained on, split as it was then. Another data set
    without splits of its own is a test split as a whole.

    Raises:
        DataError: if the run does not say what it was trained on and nothing is named, or if the
            training pictures have changed since, so that the test split may hold trained ones.
    """
    own = run.facts.get("data")
    if data and own not in (data, absolute(data)):
        return open_dataset(data, data_root, whole=True)
    if not own:
        raise DataError(f"{run.name}: does not say what it was trained on; name the data with --data")
    share, known = run.facts.get("recipe", {}).get("val_share"), run.facts.get("data_fingerprint")
    if share is None or known is None:
        raise DataError(
            f"{run.name}: does not say how its data were split; name untouched pictures with --data"
        )
    dataset = open_dataset(own, data_root or run.facts.get("data_root"))
    dataset = with_validation(dataset, share)
    if fingerprint(dataset.train) != known:
        raise DataError(
            f"{own}: its pictures changed since {run.name} was trained, so its test split may hold trained "
            "ones; name untouched pictures with --data"
        )
    return dataset
