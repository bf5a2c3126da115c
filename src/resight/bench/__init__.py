"""Speed beside peers, interleaved in the same run."""
