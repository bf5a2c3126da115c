"""Export: a run as one file that runs without Resight, compared with torch before it is written."""
