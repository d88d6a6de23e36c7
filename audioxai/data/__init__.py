"""Data: sounds to explain, real and synthetic."""

from audioxai.data.esc50 import ESC50
from audioxai.data.scenes import EVENTS, Scene, SceneDataset, make_event, make_scene

__all__ = ["ESC50", "EVENTS", "Scene", "SceneDataset", "make_event", "make_scene"]
