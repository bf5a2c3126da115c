"""First-layer filters and the nearest Gabor functions, as a picture and as figures."""

from dataclasses import dataclass

from PIL import Image
from torch import Tensor, nn

from resight.core.figures import Inline
from resight.metrics.gabor import GOOD, LEAST_SIDE, GaborFit, fit_gabors, noise_floor
from resight.render.filters import MOST, Filter, draw_filters
from resight.service.run.run import Run

TELLING = 0.5
"""If pure noise reaches this R^2, a fit means nothing."""
NORMALIZED = (
    "Grey is zero. The three colours of a filter are scaled together, by its largest absolute weight, so "
    "signs and proportions of colours are visible, strengths are not; the weights act on normalized pictures."
)
GREY = (
    "The pictures are grey, so the sum of a filter's three colours acts on them and is shown. Grey "
    "is zero; each filter is scaled by its largest absolute weight."
)


@dataclass(frozen=True)
class Fitted:
    """The Gabor functions nearest to the filters.

    Attributes:
        r2: of each filter's fit.
        orientation: of each function, in degrees.
        wavelength: in pixels.
        directed: whether it has a direction.
        noise_r2: 95 % of filters of noise stay below.
        gabors: filters that are Gabor functions; None where a fit means nothing.
        spots: well fitted filters without a direction; None likewise.
    """

    r2: list[float]
    orientation: list[float]
    wavelength: list[float]
    directed: list[bool]
    noise_r2: float
    gabors: int | None
    spots: int | None


@dataclass(frozen=True)
class NotFitted:
    """Filters to which no function is fitted."""

    r2: None = None


@dataclass(frozen=True)
class FilterFigures:
    """The first layer's filters.

    Attributes:
        layer: its name.
        filters: how many it has.
        kernel: [height, width] of a filter.
        fit: of Gabor functions.
        summary: in a sentence.
    """

    layer: str
    filters: int
    kernel: list[int]
    fit: Inline[Fitted | NotFitted]
    summary: str


@dataclass(frozen=True)
class FilterPicture:
    """The picture and its figures."""

    image: Image.Image
    figures: FilterFigures


def first_filters(model: nn.Module) -> tuple[str, Tensor] | None:
    """Return the name and weights (N, C, k, k) of the convolution that reads the picture; None without."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            weights = module.weight.detach().float().cpu()
            return (name, weights) if weights.shape[-1] > 1 else None
    return None


def look_at_filters(run: Run, *, grey: bool = False) -> FilterPicture | None:
    """Draw the first layer's filters, each next to its Gabor function, the best fit first.

    Filters below 5 x 5 are not fitted: they have too few values to recognize a Gabor function.

    Args:
        run: the network.
        grey: whether its pictures are; then a filter's colours are summed, as only their sum acts on grey
            pictures.
    """
    found = first_filters(run.model)
    if found is None:
        return None
    name, weights = found
    weights = weights.sum(1, keepdim=True) if grey else weights
    count, colours, *kernel = weights.shape
    size = f"{kernel[0]} x {kernel[1]}"
    title = f"{run.model.name}, layer {name}: {count} filters of {size}"
    fitted: Fitted | NotFitted = NotFitted()
    if kernel[0] != kernel[1] or kernel[0] < LEAST_SIDE:
        order = weights.flatten(1).norm(dim=1).argsort(descending=True).tolist()
        summary = (
            f"A filter of {size} has too few values to recognize a Gabor function, so none is "
            "fitted; the strongest come first."
        )
        if kernel[0] != kernel[1]:
            summary = "Gabor functions are fitted to square filters only; the strongest come first."
        drawn = [Filter(weights[i].numpy(), None, ("", "")) for i in order[:MOST]]
    else:
        fit = fit_gabors(weights)
        floor = noise_floor(colours, kernel[0])
        summary = _sentence(fit, floor)
        order = fit.r2.argsort(descending=True).tolist()
        fitted = _figures(fit, floor)
        shown = (fit.filters + weights.mean((2, 3), keepdim=True)).numpy()
        drawn = [Filter(weights[i].numpy(), shown[i], _words(fit, i)) for i in order[:MOST]]
        title += ", each next to the Gabor function fitted to it"
    if count > MOST:
        summary += f" The first {MOST} of {count} are drawn."
    return FilterPicture(
        draw_filters(drawn, title, [summary, GREY if grey else NORMALIZED]),
        FilterFigures(name, count, kernel, fitted, summary),
    )


def _sentence(fit: GaborFit, floor: float) -> str:
    good = fit.r2 > GOOD
    gabors, spots = int((good & fit.directed).sum()), int((good & ~fit.directed).sum())
    noise = f"95 % of filters of pure noise stay below {floor:.2f}"
    if floor > TELLING:
        return (
            f"The fits explain {100 * float(fit.r2.median()):.0f} % of a filter's variance (median), but "
            f"{noise}, so at this size a good fit means nothing: no filter is called a Gabor function."
        )
    return (
        f"{gabors} of {len(good)} filters are Gabor functions: a fit explains more than {100 * GOOD:.0f} % "
        f"of their variance (R\u00b2 > {GOOD}) and has a direction; spots without one: {spots}. For "
        f"comparison, {noise}."
    )


def _figures(fit: GaborFit, floor: float) -> Fitted:
    good = fit.r2 > GOOD
    telling = floor <= TELLING
    return Fitted(
        r2=[round(v, 4) for v in fit.r2.tolist()],
        orientation=[round(v, 1) for v in fit.orientation.tolist()],
        wavelength=[round(v, 2) for v in fit.wavelength.tolist()],
        directed=fit.directed.tolist(),
        noise_r2=floor,
        gabors=int((good & fit.directed).sum()) if telling else None,
        spots=int((good & ~fit.directed).sum()) if telling else None,
    )


def _words(fit: GaborFit, number: int) -> tuple[str, str]:
    side = fit.filters.shape[-1]
    wave = float(fit.wavelength[number])
    first = f"R\u00b2 {max(float(fit.r2[number]), 0):.2f}"
    if not fit.directed[number]:
        return f"{first}, no direction", f"filter {number}"
    length = f"{wave:.1f} px" if wave < 2 * side else "one edge"
    return f"{first}, {float(fit.orientation[number]):.0f}\u00b0, {length}", f"filter {number}"
