"""The main job: from words and a data set to a tested network."""
