"""Error rates, intervals, calibration: tensors in, numbers out."""
