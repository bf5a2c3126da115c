"""Speed compared with peers, interleaved in the same run."""
