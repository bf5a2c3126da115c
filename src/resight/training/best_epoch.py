"""Which epoch's weights are kept, where few validation pictures cannot tell epochs apart."""

from resight.metrics.accuracy import wilson_interval

FEW = 100
"""From so many validation pictures on, the least error decides alone."""


def tolerance(error: float, pictures: int) -> float:
    """Return by how many points a later epoch may err more than the best one, and is kept in its place.

    It is what the upper end of the best error's 95 % interval (Wilson) lies above it: epochs that cannot be
    told apart are not chosen between by luck. The least of 60 errors of 20 pictures, each 5 points, is that
    of a lucky epoch, while the rate falls towards the end for a reason. Breiman et al. 1984, section 3.4.3,
    choose so among trees, with one standard error.

    Args:
        error: the least validation error so far, in percent.
        pictures: how many were validated on.
    """
    if not 0 < pictures < FEW:
        return 0.0
    upper = wilson_interval(round(error * pictures / 100), pictures)[1]
    return max(0.0, upper - error)
