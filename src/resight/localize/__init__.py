"""From saliency maps to boxes."""
