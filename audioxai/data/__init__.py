"""Data: recordings with and without classes, contaminated test sets, synthetic scenes."""

# The data sets of the benchmark, in the order of its help: each file registers its own, and a new one is named here.
from audioxai.data import esc50, urbansound, folder  # noqa: F401  # isort: skip
from audioxai.data.cache import ClipCache
from audioxai.data.clips import ClipSet, LabelledClips
from audioxai.data.contamination import CONDITIONS, Condition, contaminate, mixing_gains, white_noise
from audioxai.data.download import fetch, unpack
from audioxai.data.esc50 import ESC50
from audioxai.data.manifests import Manifest, ManifestItem, shipped_manifest, shipped_manifests
from audioxai.data.scenes import EVENTS, Scene, SceneDataset, make_event, make_scene
from audioxai.data.sound_folder import SoundFolder
from audioxai.data.testsets import ManifestDataset, make_manifest
from audioxai.data.urbansound import UrbanSound8K

__all__ = [
    "CONDITIONS",
    "ESC50",
    "EVENTS",
    "ClipCache",
    "ClipSet",
    "Condition",
    "LabelledClips",
    "Manifest",
    "ManifestDataset",
    "ManifestItem",
    "Scene",
    "SceneDataset",
    "SoundFolder",
    "UrbanSound8K",
    "contaminate",
    "fetch",
    "make_event",
    "make_manifest",
    "make_scene",
    "mixing_gains",
    "shipped_manifest",
    "shipped_manifests",
    "unpack",
    "white_noise",
]
