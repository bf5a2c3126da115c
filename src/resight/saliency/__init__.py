"""Saliency maps of any torch classifier."""
