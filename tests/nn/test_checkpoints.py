"""Public CNN14 files: same logits as their own definition, and no tensor skipped without a word."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from msclap_files import State, add_cnn14, add_norm, batch_norm, cnn14
from safetensors.torch import save_file
from torch import Tensor

from audioxai.errors import ConfigError, OutputError
from audioxai.nn import CNN14
from audioxai.nn.checkpoints import load_cnn14

WIDTH, CLASSES = 2, 7


def make_trunk(first: str, norm: str, n_mels: int) -> State:
    """Random tensors under a layout's own names."""
    torch.manual_seed(0)
    state: State = {}
    add_norm(state, first, n_mels)
    add_cnn14(state, "", norm, WIDTH)
    return state


def make_linear(inputs: int, outputs: int, seed: int) -> State:
    generator = torch.Generator().manual_seed(seed)
    return {
        "weight": torch.randn(outputs, inputs, generator=generator) / inputs**0.5,
        "bias": torch.randn(outputs, generator=generator),
    }


def make_panns(n_mels: int = 64) -> State:
    top = 32 * WIDTH
    front = {
        "spectrogram_extractor.stft.conv_real.weight": torch.zeros(513, 1, 1024),
        "spectrogram_extractor.stft.conv_imag.weight": torch.zeros(513, 1, 1024),
        "logmel_extractor.melW": torch.zeros(513, n_mels),
    }
    heads = {"fc1": make_linear(top, top, 1), "fc_audioset": make_linear(top, CLASSES, 2)}
    named = {f"{name}.{key}": value for name, layer in heads.items() for key, value in layer.items()}
    return front | make_trunk("bn0", "bn", n_mels) | named


def make_speechbrain(n_mels: int = 80) -> State:
    return make_trunk("norm0", "norm", n_mels)


def embed(state: State, first: str, norm: str, log_mel: Tensor) -> Tensor:
    """(B, N, M) to (B, 32 width): the public definition, in evaluation mode, from the tensors alone."""
    state = {name: value.double() for name, value in state.items()}
    x = batch_norm(state, first, log_mel.double().transpose(1, 2)).transpose(1, 2)[:, None]
    return cnn14(state, "", norm, x)


def linear(x: Tensor, layer: State, name: str = "") -> Tensor:
    return x @ layer[f"{name}weight"].double().T + layer[f"{name}bias"].double()


def features(n_mels: int) -> Tensor:
    return torch.randn(2, 101, n_mels, generator=torch.Generator().manual_seed(5))


def logits(network: CNN14, log_mel: Tensor) -> Tensor:
    with torch.no_grad():
        return network(log_mel)


def close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((b.abs() > 1e-2).any()) and torch.allclose(a.double(), b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["torch", "old torch", "safetensors", "parallel", "bare"])
def test_panns_gives_its_own_logits(form: str, tmp_path: Path) -> None:
    state = make_panns()
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "Cnn14_mAP=0.431.pth")
    if form == "safetensors":
        save_file(state, path)
    elif form == "bare":
        torch.save(state, path)
    else:
        named = {f"module.{k}": v for k, v in state.items()} if form == "parallel" else state
        content = {"iteration": 800000, "model": named}
        torch.save(content, path, _use_new_zipfile_serialization=form != "old torch")
    network = load_cnn14(path, CLASSES)
    assert not network.training and all(p.dtype == torch.float32 for p in network.parameters())
    log_mel = features(64)
    embedding = linear(embed(state, "bn0", "bn", log_mel), state, "fc1.").clamp(min=0)
    assert close(logits(network, log_mel), linear(embedding, state, "fc_audioset."))


@pytest.mark.parametrize("form", ["torch.nn.Linear", "speechbrain.nnet.linear.Linear"])
def test_speechbrain_gives_its_own_logits(form: str, tmp_path: Path) -> None:
    state, head = make_speechbrain(), make_linear(32 * WIDTH, CLASSES, 3)
    torch.save(state, tmp_path / "embedding_model.ckpt")
    prefix = "" if form.startswith("torch") else "w."
    torch.save({prefix + k: v for k, v in head.items()}, tmp_path / "classifier.ckpt")
    network = load_cnn14(tmp_path / "embedding_model.ckpt", CLASSES, head_path=tmp_path / "classifier.ckpt")
    log_mel = features(80)
    assert close(logits(network, log_mel), linear(embed(state, "norm0", "norm", log_mel), head))
    assert isinstance(network.head, torch.nn.Linear)


@pytest.mark.parametrize("kind", ["panns", "speechbrain"])
def test_a_fresh_head_on_the_loaded_trunk(kind: str, tmp_path: Path) -> None:
    panns = kind == "panns"
    state, names, n_mels = (make_panns(), ("bn0", "bn"), 64) if panns else (make_speechbrain(40), ("norm0", "norm"), 40)
    torch.save({"model": state} if panns else state, tmp_path / "w.pth")
    torch.manual_seed(0)
    before = torch.get_rng_state()
    network = load_cnn14(tmp_path / "w.pth", 3, head="fresh")
    assert torch.equal(torch.get_rng_state(), before)
    log_mel = features(n_mels)
    head = {k: v.detach() for k, v in network.head.state_dict().items()}
    assert head["weight"].shape == (3, 32 * WIDTH) and head["weight"].std() > 0
    assert close(logits(network, log_mel), linear(embed(state, *names, log_mel), head))
    torch.manual_seed(1)
    other = load_cnn14(tmp_path / "w.pth", 3, head="fresh", layout=kind)  # type: ignore[arg-type]
    assert not torch.equal(other.head.weight, network.head.weight)


def test_old_files_without_counters_and_half_precision(tmp_path: Path) -> None:
    state = {k: v.half() for k, v in make_speechbrain().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "w.ckpt")
    network = load_cnn14(tmp_path / "w.ckpt", 2, head="fresh")
    assert all(p.dtype == torch.float32 for p in network.parameters())
    log_mel = features(80)
    embedding = embed(state, "norm0", "norm", log_mel)
    head = {k: v.detach() for k, v in network.head.state_dict().items()}
    assert close(logits(network, log_mel), linear(embedding, head))


def spoil(state: State, **changes: Tensor | None) -> State:
    result = dict(state)
    for name, value in changes.items():
        result.pop(name, None)
        if value is not None:
            result[name] = value
    return result


FAULTS = {
    "missing": (
        {"conv_block3.conv1.weight": None, "bn0.bias": None, "fc1.bias": None, "conv_block2.bn1.bias": None},
        r"4 missing: bn0.bias, conv_block2.bn1.bias, conv_block3.conv1.weight and 1 more",
    ),
    "unknown": ({"att_block.att.weight": torch.zeros(2), "blocks.0.0.weight": torch.zeros(2)}, r"2 unknown: att_block"),
    "shape": (
        {"conv_block6.conv1.weight": torch.zeros(64, 32, 5, 5)},
        r"conv1.weight \(64 × 32 × 5 × 5, not 64 × 32 ×",
    ),
    "transposed": ({"fc1.weight": torch.zeros(64, 32)}, r"1 wrong shape: fc1.weight \(64 × 32, not 64 × 64\)"),
    "scalar": ({"fc_audioset.weight": torch.tensor(1.0)}, r"fc_audioset.weight \(a single number, not 7 × 64\)"),
    "integer": ({"fc1.bias": torch.zeros(64, dtype=torch.int64)}, r"1 no floats: fc1.bias \(torch.int64\)"),
    "nan": ({"bn0.running_var": torch.full((64,), float("nan"))}, r"1 not finite: bn0.running_var"),
    "no first": (
        {"conv_block1.conv1.weight": None},
        r"no usable 'conv_block1.conv1.weight'; its 80 tensors begin with",
    ),
    "empty": ({"bn0.weight": torch.zeros(0)}, r"no usable 'bn0.weight'"),
    "neither": ({"bn0.weight": None}, r"CNN14 in no known layout: .* its 83 tensors begin with spectrogram"),
    "both": ({"norm0.weight": torch.zeros(64)}, r"CNN14 in no known layout"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_nothing_is_skipped_silently(name: str, tmp_path: Path) -> None:
    changes, message = FAULTS[name]
    torch.save({"model": spoil(make_panns(), **changes)}, tmp_path / "w.pth")
    with pytest.raises(OutputError, match=message) as caught:
        load_cnn14(tmp_path / "w.pth", CLASSES)
    assert "w.pth" in str(caught.value)


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    panns, brain, head = tmp_path / "p.pth", tmp_path / "b.ckpt", tmp_path / "c.ckpt"
    torch.save({"model": make_panns()}, panns)
    torch.save(make_speechbrain(), brain)
    torch.save(make_linear(32 * WIDTH, CLASSES, 3), head)
    for arguments, message in [
        ((panns, 50), r"n_classes=50, but the head in the file has 7 classes; pass n_classes=7, or head='fresh'"),
        ((panns, 0), "n_classes=0"),
    ]:
        with pytest.raises(ConfigError, match=message):
            load_cnn14(*arguments)
    for path, options, message in [
        (brain, {}, r"linear layer in a file of its own; pass head_path=..., or head='fresh'"),
        (panns, {"head_path": head}, r"holds its own head; leave head_path='.*c.ckpt' out"),
        (brain, {"head": "fresh", "head_path": head}, r"head='fresh' does not read head_path="),
        (brain, {"head": "new"}, r"head='new' is not known"),
        (brain, {"layout": "clap"}, r"layout='clap' is not known"),
    ]:
        with pytest.raises(ConfigError, match=message):
            load_cnn14(path, CLASSES, **options)
    with pytest.raises(ConfigError, match=r"n_classes=5, but the head in the file has 7"):
        load_cnn14(brain, 5, head_path=head)
    with pytest.raises(OutputError, match=r"no usable 'conv_block1.conv1.weight'|no usable 'norm0.weight'"):
        load_cnn14(panns, CLASSES, layout="speechbrain", head="fresh")


def test_heads_that_are_no_linear_layer(tmp_path: Path) -> None:
    brain, head = tmp_path / "b.ckpt", tmp_path / "classifier.ckpt"
    torch.save(make_speechbrain(), brain)
    for content in (
        {"weight": torch.zeros(7, 64)},
        {"blocks.0.norm.weight": torch.zeros(64), "weight": torch.zeros(7, 9)},
    ):
        torch.save(content, head)
        with pytest.raises(OutputError, match=r"classifier.ckpt' is no linear layer: it holds .* head='fresh'"):
            load_cnn14(brain, CLASSES, head_path=head)


class _Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_file_that_needs_unpickling_is_refused_and_not_run(tmp_path: Path) -> None:
    path, trace = tmp_path / "w.pth", tmp_path / "trace"
    for content in ({"model": make_panns(), "more": _Payload(trace)}, CNN14(2, width=1)):
        torch.save(content, path)
        with pytest.raises(
            OutputError, match=r"w.pth' holds more than tensors, or is damaged \(.*nsupported .*refused"
        ):
            load_cnn14(path, CLASSES)
    assert not trace.exists()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"there is no file '.*gone.pth'; check the path"):
        load_cnn14(tmp_path / "gone.pth", CLASSES)
    for name in ("w.pth", "w.safetensors"):
        (tmp_path / name).write_bytes(b"hello, this is not a checkpoint")
        with pytest.raises(OutputError, match=r"cannot be read|holds more than tensors, or is damaged"):
            load_cnn14(tmp_path / name, CLASSES)
    torch.save(make_speechbrain(), tmp_path / "cut.pth")
    whole = (tmp_path / "cut.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OutputError, match=r"cut.pth"):
        load_cnn14(tmp_path / "cut.pth", 2, head="fresh")
    for content, message in [
        (torch.zeros(3), "holds no named tensors but Tensor"),
        ({}, "holds no named tensors but dict"),
        ({"epoch": 3, "lr": 0.1, "a": 1, "b": 2}, "other things than tensors: epoch, lr, a and 1 more"),
    ]:
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(OutputError, match=message):
            load_cnn14(tmp_path / "w.pth", CLASSES)
