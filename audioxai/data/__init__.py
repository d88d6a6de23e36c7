"""Data: sounds to explain, real and synthetic."""

from audioxai.data.scenes import EVENTS, Scene, SceneDataset, make_event, make_scene

__all__ = ["EVENTS", "Scene", "SceneDataset", "make_event", "make_scene"]
