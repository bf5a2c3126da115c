"""Fitting of classic pipelines: codebooks, mixtures, principal components, support vector machines."""
