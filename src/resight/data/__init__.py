"""Pictures: the one decoder, data sets, splits, augmentation, batches."""
