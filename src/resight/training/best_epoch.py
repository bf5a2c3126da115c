"""Which epoch's weights are kept, where few validation pictures cannot distinguish epochs."""

from resight.metrics.accuracy import wilson_interval

FEW = 100
"""From this number of validation pictures, the lowest error alone decides."""


def tolerance(error: float, pictures: int) -> float:
    """Return by how many points a later epoch's error may exceed the best one and still replace it.

    It is the distance to the upper end of the best error's 95 % interval (Wilson): epochs that cannot be
    distinguished are not chosen by luck. The lowest of 60 errors of 20 pictures, each 5 points, is that
    of a lucky epoch, while the rate falls towards the end for a reason. Breiman et al. 1984, section 3.4.3,
    choose trees this way, with one standard error.

    Args:
        error: the lowest validation error so far, in percent.
        pictures: the number of validation pictures.
    """
    if not 0 < pictures < FEW:
        return 0.0
    upper = wilson_interval(round(error * pictures / 100), pictures)[1]
    return max(0.0, upper - error)
