"""What every learned explainer promises: fitting leaves the classifier alone, saving comes back to the bit."""

import json
import math

import networks
import numpy as np
import pytest
import torch
from learned import step
from safetensors import safe_open
from safetensors.torch import save_file
from torch.utils.data import DataLoader, TensorDataset

import audioxai as ax
from audioxai.classifiers.sequences import Pooled
from audioxai.errors import ConfigError, InputError, NotFittedError, OutputError

CLIPS = networks.clips(4, 2500)
QUICK = {"epochs": 1, "progress": False}


def lmac(classifier=None, **options):
    return ax.LMAC(classifier or networks.log_mel_cnn(), **{"width": 8, "space": "mel", **options})


@pytest.fixture(scope="module")
def fitted():
    return lmac().fit([CLIPS], **QUICK)


def decoder(explainer):
    return explainer.decoder_.state_dict()


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# Before and after fitting ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [NotFittedError, ValueError, AttributeError, ax.AudioXAIError])
def test_before_fit(kind, tmp_path):
    explainer = lmac()
    for use in (
        lambda: explainer.explain(CLIPS),
        lambda: explainer.attribute(CLIPS),
        lambda: explainer.explain_all(CLIPS, [0]),
        lambda: explainer.save_pretrained(tmp_path / "new"),
        lambda: explainer.decoder,
    ):
        with pytest.raises(kind, match=r"not fitted.*call \.fit\(loader\)"):
            use()
    assert not (tmp_path / "new").exists()
    assert explainer.decoder_ is None
    assert not explainer.__sklearn_is_fitted__()


def test_fit_returns_itself_fitted():
    explainer = lmac()
    assert explainer.fit([CLIPS], epochs=2, progress=False) is explainer
    assert explainer.__sklearn_is_fitted__()
    assert not explainer.decoder.training
    assert not any(p.requires_grad for p in explainer.decoder.parameters())
    assert [record["epoch"] for record in explainer.history_] == [1, 2]
    assert {"loss", "in", "out", "mask", "seconds"} <= set(explainer.history_[0])


LEARNERS = {
    "L-MAC": lambda **mixing: lmac(**mixing),
    "LMAC-TD": lambda **mixing: ax.LMACTD(networks.log_mel_cnn(), channels=8, **mixing),
    "L2I": lambda **_mixing: ax.L2I(networks.log_mel_cnn(), components=6, width=8),
}


@pytest.mark.parametrize("method", LEARNERS)
def test_losses_are_means_over_clips(method):
    explainer = LEARNERS[method](mixing=0.0).fit([CLIPS], **QUICK)
    whole, single = step(explainer, CLIPS), [step(explainer, clip[None]) for clip in CLIPS]
    for name, value in whole.items():
        assert value == pytest.approx(np.mean([s[name] for s in single]), rel=1e-3, abs=1e-5), name
    assert step(explainer, torch.cat([CLIPS, CLIPS]))["loss"] == pytest.approx(whole["loss"], rel=1e-3)


@pytest.mark.parametrize("method", LEARNERS)
def test_only_the_decoder_gets_gradients(method):
    explainer = LEARNERS[method]().fit([CLIPS], **QUICK)
    explainer.decoder.train().requires_grad_(True)
    with explainer._untouched():
        explainer.training_step(CLIPS)["loss"].backward()
    assert all(p.grad is None for p in explainer.classifier.parameters())
    for name, parameter in explainer.decoder.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


class Unlucky(Exception):
    pass


def state_of(classifier):
    return {
        "weights": {k: v.clone() for k, v in classifier.state_dict().items()},
        "modes": [m.training for m in classifier.modules()],
        "flags": [p.requires_grad for p in classifier.parameters()],
        "grads": [None if p.grad is None else p.grad.clone() for p in classifier.parameters()],
        "hooks": [
            [len(hooks) for hooks in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks)]
            for m in classifier.modules()
        ],
        "random": torch.get_rng_state(),
    }


def same_state(a, b):
    assert equal(a["weights"], b["weights"])
    assert a["modes"] == b["modes"]
    assert a["flags"] == b["flags"]
    assert a["hooks"] == b["hooks"]
    assert torch.equal(a["random"], b["random"])
    for x, y in zip(a["grads"], b["grads"], strict=True):
        assert (x is None) == (y is None)
        assert x is None or torch.equal(x, y)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("network", networks.NETWORKS)
def test_the_classifier_is_left_as_it_was(network, fails):
    classifier = networks.NETWORKS[network]().train()
    parameters = list(classifier.parameters())
    parameters[0].requires_grad_(False)
    parameters[1].grad = torch.ones_like(parameters[1])
    classifier.network.register_forward_hook(lambda *_: None)
    explainer = lmac(classifier, space="stft")
    before = state_of(classifier)

    def loader():
        yield CLIPS
        if fails:
            raise Unlucky
        yield CLIPS

    if fails:
        with pytest.raises(Unlucky):
            explainer.fit(loader(), **QUICK)
    else:
        explainer.fit(loader(), **QUICK)
    same_state(before, state_of(classifier))
    assert (explainer.decoder_ is None) == fails


@pytest.mark.parametrize("loader", [[CLIPS, torch.full((2, 2500), math.nan)], [], [CLIPS, "clip.wav"], 3])
def test_a_failed_fit_keeps_the_earlier_decoder(loader):
    explainer = lmac().fit([CLIPS], **QUICK)
    before, history = explainer.decoder_, explainer.history_
    mask = explainer.explain(CLIPS).mask
    with pytest.raises(InputError):
        explainer.fit(loader, **QUICK)
    assert explainer.decoder_ is before
    assert explainer.history_ is history
    assert torch.equal(explainer.explain(CLIPS).mask, mask)


def test_fitting_again_starts_anew(fitted):
    explainer = lmac().fit([CLIPS * 2], **QUICK).fit([CLIPS], **QUICK)
    assert equal(decoder(explainer), decoder(fitted))


@pytest.mark.parametrize(
    "loader",
    [
        CLIPS,
        [(CLIPS, torch.arange(4))],
        [{"waveform": CLIPS, "label": 0}],
        DataLoader(TensorDataset(CLIPS, torch.arange(4)), batch_size=4),
        DataLoader(TensorDataset(CLIPS), batch_size=4),
        [CLIPS[:, None].numpy()],
    ],
)
def test_labels_and_the_form_of_the_loader_do_not_matter(loader, fitted):
    assert equal(decoder(lmac().fit(loader, **QUICK)), decoder(fitted))


def test_seeds(fitted):
    torch.manual_seed(99)
    assert equal(decoder(lmac().fit([CLIPS], **QUICK)), decoder(fitted))
    other = lmac().fit([CLIPS], seed=1, **QUICK)
    assert not equal(decoder(other), decoder(fitted))
    assert equal(decoder(lmac(seed=1).fit([CLIPS], **QUICK)), decoder(other))


@pytest.mark.parametrize(
    ("loader", "options", "kind", "words"),
    [
        (None, {}, InputError, r"call \.fit\(loader\)"),
        ([], {}, InputError, "no batch"),
        ([CLIPS], {"epoch": 3}, ConfigError, r"no option \['epoch'\]; known are"),
        ([CLIPS], {"epochs": 0}, ConfigError, "epochs=0"),
        ([CLIPS], {"precision": "int8"}, ConfigError, "int8"),
        ([CLIPS], {"val_loader": []}, InputError, "val_loader yields no batch"),
        ([torch.full((2, 2500), math.nan)], {}, InputError, "NaN"),
        ([{"sound": CLIPS}], {}, InputError, "waveform, audio"),
        ([CLIPS.to(torch.int16)], {}, InputError, "int16"),
    ],
)
def test_what_cannot_be_fitted(loader, options, kind, words):
    explainer = lmac()
    with pytest.raises(kind, match=words):
        explainer.fit(loader, **{**QUICK, **options})
    assert explainer.decoder_ is None


def test_a_generator_read_once():
    with pytest.raises(InputError, match="only once; pass a list or a DataLoader"):
        lmac().fit((CLIPS for _ in range(2)), epochs=2, progress=False)


def test_mixed_precision(fitted):
    explainer = lmac().fit([CLIPS], precision="bf16", **QUICK)
    assert not equal(decoder(explainer), decoder(fitted))
    assert all(v.dtype == torch.float32 for v in decoder(explainer).values())
    torch.testing.assert_close(explainer.explain(CLIPS).mask, fitted.explain(CLIPS).mask, rtol=0, atol=0.1)


def test_a_checkpoint_belongs_to_one_classifier_and_one_set_of_options(tmp_path):
    path = tmp_path / "run"
    first = lmac().fit([CLIPS], checkpoint=path, **QUICK)
    assert equal(decoder(lmac().fit([CLIPS], checkpoint=path, **QUICK)), decoder(first))
    other = networks.log_mel_cnn()
    with torch.no_grad():
        other.network.head.bias += 1
    others = {
        "classifier.fingerprint=": lmac(other), "options.lambda_in=4.0, now 9.0;": lmac(lambda_in=9.0),
        "space.scale='log1p', now 'magnitude'": lmac(scale="magnitude"),
    }  # fmt: skip
    for words, explainer in others.items():
        with pytest.raises(ConfigError, match=words):
            explainer.fit([CLIPS], checkpoint=path, **QUICK)


def test_a_checkpoint_of_an_earlier_version_is_refused(tmp_path):
    path = tmp_path / "run"
    lmac().fit([CLIPS], checkpoint=path, **QUICK)
    with safe_open(path, framework="pt") as file:
        run, weights = json.loads(file.metadata()["run"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del run["format"], run["options"]["method"]
    save_file(weights, path, {"run": json.dumps(run | {"options": run["options"] | {"classifier": "0" * 64}})})
    with pytest.raises(ConfigError, match="belongs to a run with an earlier version of audioxai; .* or delete it"):
        lmac().fit([CLIPS], checkpoint=path, **QUICK)


# Saving ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", ["stft", "mel", "waveform"])
@pytest.mark.parametrize("network", ["log-mel CNN", "waveform CNN", "tokens"])
def test_it_comes_back_to_the_bit(tmp_path, space, network):
    made = networks.NETWORKS[network]
    options = {"space": space, "scale": "magnitude", "lambda_s": 1.5, "evidence": space != "mel", "seed": 4}
    explainer = lmac(made(), **options).fit([CLIPS], **QUICK)
    assert explainer.save_pretrained(tmp_path / "new" / "lmac") == tmp_path / "new" / "lmac"
    loaded = ax.LMAC.from_pretrained(tmp_path / "new" / "lmac", classifier=made(), max_batch=3)
    assert equal(decoder(loaded), decoder(explainer))
    assert loaded.identity() == explainer.identity()
    assert (loaded.history_, loaded.max_batch) == (explainer.history_, 3)
    explainer.max_batch = 3
    a, b = explainer.explain(CLIPS), loaded.explain(CLIPS)
    torch.testing.assert_close(a.mask, b.mask, rtol=0, atol=1e-6)
    assert torch.equal(explainer.explain(CLIPS[:3]).mask, loaded.explain(CLIPS[:3]).mask)
    assert (a.space, a.scale) == (b.space, b.scale)
    assert not loaded.decoder.training
    assert not any(p.requires_grad for p in loaded.decoder.parameters())


def test_nothing_is_pickled(fitted, tmp_path):
    fitted.save_pretrained(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"decoder.safetensors", "explainer.json"}
    config = json.loads((tmp_path / "explainer.json").read_text())
    known = fitted.identity()
    assert (config["explainer"], config["format"]) == (known["method"], 2)
    assert {name: config[name] for name in ("classifier", "space", "options")}.items() <= known.items()


def test_another_classifier_is_refused_by_both_fingerprints(fitted, tmp_path):
    fitted.save_pretrained(tmp_path)
    other = networks.log_mel_cnn()
    with torch.no_grad():
        other.network.head.bias[0] += 1e-3
    mine, its = fitted.classifier.fingerprint()[:12], other.fingerprint()[:12]
    with pytest.raises(ConfigError, match=rf"{mine}.*{its}"):
        ax.LMAC.from_pretrained(tmp_path, classifier=other)
    network = networks.log_mel_cnn().network
    front = ax.LogMel(networks.RATE, 32, mel_scale="slaney")
    with pytest.raises(ConfigError, match="fingerprint"):
        ax.LMAC.from_pretrained(
            tmp_path, classifier=ax.AudioClassifier(network, sample_rate=networks.RATE, frontend=front)
        )


# Fingerprints of the shipped networks in format 1.
FORMAT_1 = {
    "esc10-compact": "32d6c776cc1aa6a2526c957be8f5f79f6340fa1dfcdd520f0575667d83d4e163",
    "esc10-clap": "35cde4fa4b28da7ed486776e3e1333df45d00970ebb554ec420ed6f17f7d2944",
}


def to_format_1(folder, fingerprint):
    """Rewrite what was saved as the first format held it."""
    config = json.loads((folder / "explainer.json").read_text())
    space, options = config.pop("space"), config["options"]
    config |= {"format": 1, "space": space["name"], "scale": space["scale"], "stft": space["stft"]}
    config |= {"layers": config["classifier"]["layers"], "classifier": fingerprint}
    config |= {name: options.pop(name) for name in ("normalise", "seed", "heard")}
    (folder / "explainer.json").write_text(json.dumps(config))


@pytest.mark.parametrize("name", FORMAT_1)
def test_what_the_first_format_holds_is_loaded_by_its_own_rule(name, tmp_path):
    shipped = ax.load_pretrained(name)
    classifier = getattr(shipped, "classifier", shipped)
    explainer = ax.LMAC(classifier, width=4, scale="magnitude", seed=4, heard=True, lambda_in=3)
    explainer.fit([networks.clips(2, 16000)], **QUICK).save_pretrained(tmp_path)
    to_format_1(tmp_path, FORMAT_1[name])
    loaded = ax.LMAC.from_pretrained(tmp_path, classifier=classifier)
    assert loaded.identity() == explainer.identity()
    with torch.no_grad():
        next(classifier.network.parameters()).mul_(2)
    with pytest.raises(ConfigError, match=f"fitted on another classifier .fingerprint {FORMAT_1[name][:12]}"):
        ax.LMAC.from_pretrained(tmp_path, classifier=classifier)


def test_a_function_in_the_first_format_cannot_be_checked(tmp_path):
    class Frames(torch.nn.Module):
        def forward(self, features):
            return features[:, :, :4]

    network = Pooled(Frames(), lambda frames: frames.mean(1))
    classifier = ax.AudioClassifier(
        network,
        sample_rate=networks.RATE,
        frontend=ax.LogMel(networks.RATE, 32),
        layers={"network": lambda x: x[:, None]},
    )
    lmac(classifier).fit([CLIPS], **QUICK).save_pretrained(tmp_path)
    to_format_1(tmp_path, "0" * 64)
    with pytest.warns(UserWarning, match="cannot be checked: the network holds a function"):
        ax.LMAC.from_pretrained(tmp_path, classifier=classifier)


def test_an_unknown_format_is_refused(fitted, tmp_path):
    fitted.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "explainer.json").read_text())
    (tmp_path / "explainer.json").write_text(json.dumps(config | {"format": 3}))
    with pytest.raises(ConfigError, match="holds 'LMAC' in format 3; .* not LMAC in format 2"):
        ax.LMAC.from_pretrained(tmp_path, classifier=fitted.classifier)


def test_another_activation_is_refused(fitted, tmp_path):
    fitted.save_pretrained(tmp_path)
    other = networks.log_mel_cnn()
    other.network.blocks[0][-1] = torch.nn.GELU()
    with pytest.raises(ConfigError, match="weights, settings or front end differ"):
        ax.LMAC.from_pretrained(tmp_path, classifier=other)


def test_other_layers_are_refused(fitted, tmp_path):
    fitted.save_pretrained(tmp_path)
    same = fitted.classifier
    layers = list(same.layers)[::-1]
    other = ax.AudioClassifier(same.network, sample_rate=networks.RATE, frontend=same.frontend, layers=layers).eval()
    with pytest.raises(ConfigError, match="layers"):
        ax.LMAC.from_pretrained(tmp_path, classifier=other)


def test_a_space_of_its_own_must_be_given_again(tmp_path):
    classifier = networks.log_mel_cnn()

    def space():
        return ax.STFTSpace(classifier, "magnitude", stft=ax.dsp.STFT(512, 512, 256))

    explainer = lmac(classifier, space=space()).fit([CLIPS], **QUICK)
    explainer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="stft=.*space="):
        ax.LMAC.from_pretrained(tmp_path, classifier=classifier)
    loaded = ax.LMAC.from_pretrained(tmp_path, classifier=classifier, space=space())
    assert torch.equal(loaded.explain(CLIPS).mask, explainer.explain(CLIPS).mask)


def test_bands_of_its_own_must_be_given_again(tmp_path):
    classifier = networks.log_mel_cnn()
    space = ax.MelSpace(classifier, mel=ax.LogMel(networks.RATE, 32, f_min=50.0))
    lmac(classifier, space=space).fit([CLIPS], **QUICK).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="settings=.*space="):
        ax.LMAC.from_pretrained(tmp_path, classifier=classifier)
    ax.LMAC.from_pretrained(tmp_path, classifier=classifier, space=space)


def test_another_class_is_refused(fitted, tmp_path):
    class Other(ax.LMAC):
        pass

    fitted.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="holds 'LMAC'.*not Other"):
        Other.from_pretrained(tmp_path, classifier=fitted.classifier)


@pytest.mark.parametrize(
    "how", ["no folder", "no weights", "no config", "half weights", "half config", "list", "keys", "swapped"]
)
def test_a_spoilt_folder_is_named(fitted, tmp_path, how):
    folder = tmp_path / "saved"
    fitted.save_pretrained(folder)
    weights, config = folder / "decoder.safetensors", folder / "explainer.json"
    if how == "no folder":
        folder = tmp_path / "elsewhere"
    elif how == "no weights":
        weights.unlink()
    elif how == "no config":
        config.unlink()
    elif how == "half weights":
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    elif how == "half config":
        config.write_text(config.read_text()[:40])
    elif how == "list":
        config.write_text("[1]")
    elif how == "keys":
        config.write_text('{"format": 1, "explainer": "LMAC"}')
    else:
        lmac(width=16).fit([CLIPS], **QUICK).save_pretrained(tmp_path / "wide")
        weights.write_bytes((tmp_path / "wide" / "decoder.safetensors").read_bytes())
    with pytest.raises(OutputError, match=folder.name):
        ax.LMAC.from_pretrained(folder, classifier=fitted.classifier)


def test_a_full_disk_leaves_no_half(fitted, tmp_path, monkeypatch):
    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        fitted.save_pretrained(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_options_that_json_cannot_hold_are_not_saved(fitted, tmp_path):
    class Odd(ax.LMAC):
        def __init__(self, classifier, *, shape=None, **base):
            super().__init__(classifier, **base)
            self.shape = shape

    explainer = Odd(fitted.classifier, width=8, space="mel", shape=torch.ones(2))
    explainer.decoder_ = fitted.decoder_
    with pytest.raises(ConfigError, match="an option of this Odd cannot be saved as JSON: .*Tensor"):
        explainer.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())
    explainer.shape = [1, 2]
    explainer.save_pretrained(tmp_path)
    assert Odd.from_pretrained(tmp_path, classifier=fitted.classifier).shape == [1, 2]


class Trained(torch.nn.Module):
    """A network with statistics that move in training mode, and random numbers."""

    def __init__(self, outputs=3):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Conv1d(1, 8, 64, 16), torch.nn.BatchNorm1d(8), torch.nn.ReLU())
        self.head = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(8, outputs))

    def forward(self, x):
        return self.head(self.body(x[:, None]).mean(2))


def test_loading_leaves_a_network_in_training_mode_as_it_was(tmp_path):
    network = Trained()
    classifier = ax.AudioClassifier(network, sample_rate=8000)
    ax.LMAC(classifier, width=8).fit([networks.clips(4, 4000)], epochs=1, progress=False).save_pretrained(tmp_path)
    network.train()
    before, state = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    for _ in range(2):
        ax.LMAC.from_pretrained(tmp_path, classifier=classifier)
        ax.L2I.reference(classifier)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert network.training and network.head.training


def test_the_published_schedule_is_saved(tmp_path):
    classifier, clips = networks.log_mel_cnn(), networks.clips(4, 4000)
    fitted = ax.LMAC.reference(classifier, decoder_name="evidence", width=8).fit([clips], epochs=1, progress=False)
    fitted.save_pretrained(tmp_path)
    loaded = ax.LMAC.from_pretrained(tmp_path, classifier=classifier)
    for explainer in (fitted, loaded):
        explainer.finetune([clips], epochs=1, cth=0.0, progress=False)
    assert torch.equal(fitted.explain(clips).mask, loaded.explain(clips).mask)


@pytest.mark.parametrize("method", [ax.LMAC, ax.LMACTD, ax.L2I])
def test_one_output_needs_to_be_multilabel(method):
    classifier = ax.AudioClassifier(Trained(1), sample_rate=8000)
    with pytest.raises(ConfigError, match="pass multilabel=True"):
        method(classifier).fit([networks.clips(2, 4000)], epochs=1, progress=False)
