"""Networks that know nothing of explanations: reference classifiers and decoders."""

from audioxai.nn.classifiers import CNN14, CompactCNN, WaveformCNN
from audioxai.nn.decoder import EvidenceDecoder

__all__ = ["CNN14", "CompactCNN", "EvidenceDecoder", "WaveformCNN"]
