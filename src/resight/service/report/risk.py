"""The gain if the network may pass its least certain answers to a person."""

from resight.metrics.risk_coverage import Accepted, RiskCoverage
from resight.render.charts import Series, line_chart
from resight.render.page import Part
from resight.service.report.tested import Tested

LEFT_OUT = 0.1
"""The share of the pictures that the sentence leaves to a person."""
READING = (
    "From left to right, more answers are accepted, the most certain first. At the right end all are "
    "accepted, and the error is the test error. resight predict --at-least P marks answers below a "
    "probability P as unsure. The curve holds for photos of these classes: a photo of something else can "
    "still get a sure answer."
)


def unsure(tested: Tested) -> list[Part]:
    """Return the risk-coverage curve of a test; nothing where a picture has more than one answer."""
    curve = tested.result.risk_coverage()
    if curve is None:
        return []
    chart = f'<div class="card" style="max-width:480px">{risk_chart(curve)}</div>'
    return [Part("Leaving uncertain answers to a person", READING, [risk_words(curve)], html=chart)]


def risk_chart(curve: RiskCoverage) -> str:
    """Return the error of the accepted answers over the share accepted as SVG."""
    points = [(100 * p.coverage, p.error) for p in curve.points(50) if p.error is not None]
    series = Series("accepted answers", [x for x, _ in points], [y for _, y in points], "a")
    return line_chart([series], "answers accepted in %, the most certain first", "error in %")


def risk_words(curve: RiskCoverage) -> str:
    """Return the gain if the least certain tenth of the pictures is passed to a person."""
    everything, rest = curve.at_coverage(1.0), curve.at_coverage(1 - LEFT_OUT)
    if not everything.wrong:
        return f"It makes no error on these {everything.n:,} pictures, so no answer has to go to a person."
    if rest.n == everything.n:
        return "All its answers are equally certain, so none can be left to a person first."
    share = f"{100 * (1 - rest.coverage):.0f} %"
    errs = (
        f"is wrong on {_often(rest)} of the rest" if rest.wrong else f"makes no error on the other {rest.n:,}"
    )
    return (
        f'If it may say "unsure" on the least certain {share} of photos, it {errs}; on all photos it is '
        f"wrong on {_often(everything)}."
    )


def _often(part: Accepted) -> str:
    """Return how often an accepted answer is wrong, as text."""
    if 5 * part.wrong <= part.n:
        return f"1 in {round(part.n / part.wrong):,}"
    return f"{100 * part.wrong / part.n:.0f} in 100"
