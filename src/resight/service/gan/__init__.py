"""Pictures that a GAN draws: its training, and its use."""
