"""What is gained if the network may leave its least certain answers to a person."""

from resight.evaluate.classify import TestResult
from resight.render.learned import Part
from resight.render.risk import risk_chart, risk_words

READING = (
    "From left to right more answers are accepted, the most certain first; at the right end all are, and the "
    "error is that of the test. resight predict --at-least P marks answers below a probability P as unsure. "
    "The curve is of photos of these classes: a photo of something else can still get a sure answer."
)


def unsure(result: TestResult) -> list[Part]:
    """Return the risk-coverage curve of a test; nothing where a picture may have several classes."""
    if result.multi_label:
        return []
    curve = result.risk_coverage()
    chart = f'<div class="card" style="max-width:480px">{risk_chart(curve)}</div>'
    return [Part("What if it may say that it is unsure", READING, [risk_words(curve)], html=chart)]
