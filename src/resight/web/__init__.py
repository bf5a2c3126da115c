"""The face of a run over HTTP: an API, and pages for pictures and boxes."""
