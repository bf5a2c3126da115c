"""Maps of pictures: overlays, sheets, whether maps are to be believed, Perception Visualization."""
