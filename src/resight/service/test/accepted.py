"""What `resight predict --at-least P` may expect: how often the answers that it accepts are wrong."""

from pathlib import Path

from resight.core.errors import UsageError
from resight.export.deployed import Onnx, is_onnx
from resight.metrics.risk_coverage import Accepted
from resight.models.modelfile import load_header
from resight.service.run.answers import TEST, VALIDATION, answers_of
from resight.service.run.run import MODEL_FILE, Run
from resight.tasks.classify.task import of_network


def require_one_answer(run: Run) -> None:
    """Refuse a run whose answers have no single probability.

    Raises:
        UsageError: if a picture may have several classes, or answers are not probabilities.
    """
    why = (
        "it answers yes or no for each class, so there is no single answer for --at-least; leave it out and "
        "compare the probabilities of the classes"
    )
    of_network(run.model).require_one(run.name, why, UsageError)
    if run.model.probabilities == "none":
        raise UsageError(f"{run.name}: gives scores that are not probabilities; leave --at-least out")


def accepted(run: str, at_least: float) -> tuple[str, Accepted] | None:
    """Return what a run's held-out pictures say of answers with at least this probability.

    Args:
        run: a RUN.
        at_least: the threshold.

    Returns:
        Which pictures these are ("validation", "test" or "5-fold"), and the accepted ones; None if the run
        does not say it.
    """
    path = Path(run)
    path = path / MODEL_FILE if path.is_dir() else path
    if not path.is_file():  # zoo:NAME, or an old task
        return None
    found = answers_of(Onnx(path).facts if is_onnx(run) else load_header(path), run)
    return found and (found[0], found[1].at_threshold(at_least))


def accepted_in_words(run: str, at_least: float) -> str:
    """Return in a line how often accepted answers are wrong, or that the run does not say it."""
    found = accepted(run, at_least)
    if found is None:
        return (
            f"{run} has no record of its answers to held-out pictures, so how often answers "
            f"of {at_least:g} or more are wrong is unknown"
        )
    of, part = found
    pictures = f"{part.of:,} {of} pictures" if of in (VALIDATION, TEST) else f"{part.of:,} pictures, {of}"
    if part.error is None or part.interval is None:
        return f"no answer reached {at_least:g} on {pictures}, so nothing is known about accepted answers"
    low, high = part.interval
    chosen = "; the epoch was chosen on these pictures" if of == VALIDATION else ""
    return (
        f"answers of {at_least:g} or more: {100 * part.coverage:.1f} % of {pictures}, and {part.error:.2f} % "
        f"of these are wrong (95 % interval {low:.2f} to {high:.2f}{chosen})"
    )
