"""Maps of pictures: overlays, sheets, evaluation of maps, Perception Visualization."""
