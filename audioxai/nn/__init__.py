"""Networks that know nothing of explanations: reference classifiers, decoders and separators."""

from audioxai.nn.clap import CompactCLAP, NgramEncoder
from audioxai.nn.classifiers import CNN14, CompactCNN, WaveformCNN
from audioxai.nn.decoder import EvidenceDecoder
from audioxai.nn.filterbank import Filterbank, FourierFilterbank, LearnedFilterbank
from audioxai.nn.general_decoder import GeneralDecoder
from audioxai.nn.separator import Separator
from audioxai.nn.sepformer import DualPath
from audioxai.nn.sound_decoder import SoundDecoder
from audioxai.nn.tcn import TCN

__all__ = [
    "CNN14",
    "TCN",
    "CompactCLAP",
    "CompactCNN",
    "DualPath",
    "EvidenceDecoder",
    "Filterbank",
    "FourierFilterbank",
    "GeneralDecoder",
    "LearnedFilterbank",
    "NgramEncoder",
    "Separator",
    "SoundDecoder",
    "WaveformCNN",
]
