"""What a network is asked: each task with its marks, its loss, its figures and its answers."""
