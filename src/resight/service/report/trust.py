"""Whether the probabilities can be trusted."""

from resight.render.charts import reliability_chart
from resight.render.page import Part, render
from resight.service.report.kinds import kind_of
from resight.service.report.tested import Tested


def calibration(tested: Tested) -> list[Part]:
    """Return how often answers of each confidence are right."""
    figures = tested.figures
    html = render(
        "sections/calibration", chart=reliability_chart(figures["reliability"]), ece=figures["ece"],
        temperature=tested.run.temperature, judged=kind_of(tested.result).judged,
    )  # fmt: skip
    return [Part("How far its percentages can be trusted", html=html)]
