"""One training loop, its losses, and what is trained with it."""

from audioxai.training.loop import History, TrainingOptions, train

__all__ = ["History", "TrainingOptions", "train"]
