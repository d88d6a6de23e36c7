"""The training loop: what it learns, records, resumes and refuses, and what it leaves alone."""

import itertools
import json
import math
import os
import random
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset

from audioxai.errors import ConfigError, InputError, OutputError
from audioxai.training import loop, run_state
from audioxai.training.loop import TrainingOptions, train

HERE = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}


class Toy(nn.Module):
    """A line with a batch norm and dropout, so that buffers and random numbers take part."""

    def __init__(self, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.line = nn.Linear(3, 1)
        self.norm = nn.BatchNorm1d(3)
        self.drop = nn.Dropout(0.2)
        with torch.no_grad():
            for p in self.line.parameters():
                p.copy_(torch.randn(p.shape, generator=generator))

    def step(self, batch):
        x, y = batch
        error = (self.line(self.drop(self.norm(x)))[:, 0] - y).square().mean()
        return {"loss": error, "twice": 2 * error.detach()}


def data(n=24, seed=0):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
    return x, x @ torch.tensor([1.0, -2.0, 0.5]) + 0.1


def batches(size=4):
    return list(zip(*(part.split(size) for part in data()), strict=True))


def fit(loader=None, *, module=None, val_loader=None, step=None, name="fit", identity=None, **options):
    module = module or Toy()
    options = TrainingOptions(**{"epochs": 4, "lr": 0.05, "progress": False, **options})
    loader = batches() if loader is None else loader
    history = train(module, step or module.step, loader, options, val_loader=val_loader, name=name, identity=identity)
    return module, history


def weights(module):
    return {k: v.clone() for k, v in module.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# Learning and the record of it ----------------------------------------------------------------------------------------


def test_it_learns_and_says_what_happened():
    _, history = fit(epochs=60, val_loader=batches())
    assert [record["epoch"] for record in history] == list(range(1, 61))
    assert set(history[0]) == {"epoch", "loss", "twice", "val_loss", "seconds"}
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert history[-1]["val_loss"] < 0.2 * history[0]["val_loss"]
    for record in history:
        assert record["twice"] == pytest.approx(2 * record["loss"])
        assert record["seconds"] > 0
    json.dumps(history)
    assert set(fit()[1][0]) == {"epoch", "loss", "twice", "seconds"}


def test_validation_runs_in_evaluation_mode():
    module = Toy()
    modes = []

    def step(batch):
        modes.append(module.training)
        return module.step(batch)

    fit(module=module, step=step, epochs=2, val_loader=batches()[:2])
    assert modes == ([True] * 6 + [False] * 2) * 2


def test_the_rate_warms_up_and_falls():
    rates = []
    module = Toy()

    def watched(optimizer, *_):
        rates.append(optimizer.param_groups[0]["lr"])

    handle = register_optimizer_step_post_hook(watched)
    try:
        fit(module=module, epochs=20, lr=0.5)
    finally:
        handle.remove()
    peak = rates.index(max(rates))
    assert len(rates) == 120
    assert max(rates) == pytest.approx(0.5, rel=0.1)
    assert 8 <= peak <= 14
    assert rates[0] == pytest.approx(0.005, rel=0.3)
    assert rates[-1] < 0.02 * 0.5
    assert all(b >= a for a, b in itertools.pairwise(rates[: peak + 1]))
    assert all(b <= a for a, b in itertools.pairwise(rates[peak:]))


def test_gradients_are_clipped():
    norms = []

    def watched(optimizer, *_):
        grads = [p.grad for group in optimizer.param_groups for p in group["params"]]
        norms.append(math.sqrt(sum(float(g.square().sum()) for g in grads)))

    handle = register_optimizer_step_post_hook(watched)
    try:
        fit([(x, 1e4 * y) for x, y in batches()], clip_norm=0.5, epochs=1)
    finally:
        handle.remove()
    np.testing.assert_allclose(norms, [0.5] * 6, rtol=1e-3)


# Early stopping -------------------------------------------------------------------------------------------------------


class Scripted(nn.Module):
    """Its loss follows a script, whatever the weights; the weight counts the epochs."""

    def __init__(self, losses):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("epochs", torch.zeros(()))
        self.losses = losses

    def step(self, batch):
        if self.training:
            self.epochs += 1
        return {"loss": self.weight * 0 + self.losses[int(self.epochs) - 1]}


def interrupted(module, when, **options):
    """A fit during which Ctrl-C is pressed as soon as ``when()`` holds at the start of a step."""

    def step(batch):
        if when():
            raise KeyboardInterrupt
        return module.step(batch)

    with pytest.raises(KeyboardInterrupt):
        fit(module=module, step=step, **options)


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize(
    ("losses", "patience", "stops", "best"),
    [
        ([5, 4, 3, 4, 5, 6, 1, 1], 2, 5, 3),
        ([5, 4, 3, 4, 5, 6, 1, 1], 4, 8, 7),
        ([5, 4, 3, 2, 1, 0, -1, -2], 1, 8, 8),
        ([5, 5, 5, 5, 5, 5, 5, 5], 3, 4, 1),
        ([1, 2, 0, 2, 2, 2, 2, 2], None, 8, 8),
    ],
)
def test_it_stops_and_keeps_the_best_weights(losses, patience, stops, best, validated):
    module = Scripted(losses)
    _, history = fit(["a"], module=module, epochs=8, patience=patience, val_loader=["val"] if validated else None)
    assert len(history) == stops
    assert int(module.epochs) == best


def test_the_best_weights_survive_a_restart(tmp_path):
    losses = [5, 2, 3, 4, 5, 6, 7, 8]
    options = {"epochs": 8, "patience": 4, "checkpoint": tmp_path / "run"}
    for limit in (3, 5):
        module = Scripted(losses)
        interrupted(module, lambda m=module, n=limit: int(m.epochs) == n, loader=["a"], **options)
    module = Scripted(losses)
    _, history = fit(["a"], module=module, **options)
    assert len(history) == 6
    assert int(module.epochs) == 2


# Random numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("generator", [None, 7])
def test_a_shuffling_loader_is_repeatable(generator):
    def loader():
        own = None if generator is None else torch.Generator().manual_seed(generator)
        return DataLoader(TensorDataset(*data()), batch_size=4, shuffle=True, generator=own)

    first, other = fit(loader()), fit(loader())
    assert equal(weights(first[0]), weights(other[0]))
    orders = []

    def step(batch):
        orders.append(tuple(batch[1].tolist()))
        return module.step(batch)

    module = Toy()
    fit(loader(), module=module, step=step, epochs=2)
    assert sorted(orders[:6]) != sorted(orders[6:])


@pytest.mark.parametrize("fails", [False, True])
def test_the_callers_random_state_is_left_alone(fails):
    module = Toy()
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()

    def step(batch):
        random.random()
        np.random.rand()
        torch.rand(1)
        if fails:
            raise RuntimeError("halfway")
        return module.step(batch)

    with pytest.raises(RuntimeError, match="halfway") if fails else nullcontext():
        fit(module=module, step=step)
    assert random.getstate() == before[0]
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), before[1], strict=True))
    assert torch.equal(torch.get_rng_state(), before[2])


def test_a_step_draws_from_every_generator_by_the_seed():
    def draws(**options):
        found = []

        def step(batch):
            found.append((random.random(), float(np.random.rand()), float(torch.rand(1))))
            return module.step(batch)

        module = Toy()
        fit(module=module, step=step, epochs=2, **options)
        return found

    first, trained = draws(), weights(fit()[0])
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(1)
    assert draws() == first
    assert len(set(first)) == 12
    assert equal(weights(fit(seed=0, progress=True)[0]), trained)
    assert not equal(weights(fit(seed=1)[0]), trained)
    assert draws(seed=1) != first


# Loaders --------------------------------------------------------------------------------------------------------------


class Growing:
    """No length, but can be read again."""

    def __iter__(self):
        return iter(batches())


@pytest.mark.parametrize("loader", [batches(), tuple(batches()), Growing(), TensorDataset(*data())])
def test_any_iterable_that_can_be_read_again(loader):
    if isinstance(loader, TensorDataset):
        loader = DataLoader(loader, batch_size=4)
    assert len(fit(loader)[1]) == 4


def test_a_generator_is_enough_for_one_epoch_only():
    assert len(fit((b for b in batches()), epochs=1)[1]) == 1
    with pytest.raises(InputError, match=r"epoch 2: it can be read only once; pass a list or a DataLoader"):
        fit(b for b in batches())


EMPTY = DataLoader(TensorDataset(torch.zeros(0, 3), torch.zeros(0)))


@pytest.mark.parametrize("loader", [[], (), iter(()), EMPTY, 5, batches, Toy])
def test_what_is_no_loader_or_an_empty_one(loader):
    words = "a loader is a list of batches or a DataLoader" if loader in (5, batches, Toy) else "loader yields no batch"
    for given in ({"loader": loader}, {"val_loader": loader}):
        with pytest.raises(InputError, match=words):
            fit(**given)


@pytest.mark.parametrize(("value", "steps"), [(math.nan, 1), (math.inf, 1), (math.nan, 4)])
def test_a_loss_that_is_not_finite_stops_before_the_weights_are_lost(monkeypatch, value, steps):
    """However late it is read."""
    monkeypatch.setattr(loop, "_steps_between_looks", lambda _device: steps)
    module = Toy()
    bad = batches()
    bad[2] = (bad[2][0], bad[2][1] * value)
    with pytest.raises(InputError, match=r"batch 2 in epoch 1 is (nan|inf)"):
        fit(bad, module=module)
    assert all(torch.isfinite(v).all() for v in module.state_dict().values())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"seed": 1.5}, "seed=1.5 must be a whole number"),
        ({"precision": "half"}, "'half'.*'bf16'"),
        ({"patience": 0}, "patience=0"),
        ({"lr": 0}, "lr=0"),
        ({"lr": math.nan}, "lr=nan"),
        ({"clip_norm": -1}, "clip_norm=-1"),
        ({"checkpoint_seconds": -1.0}, "checkpoint_seconds=-1.0"),
        ({"checkpoint_seconds": math.nan}, "checkpoint_seconds=nan"),
    ],
)
def test_options_out_of_range(options, words):
    with pytest.raises(ConfigError, match=words):
        TrainingOptions(**options)


def test_mixed_precision_changes_the_digits_and_not_the_weights_type():
    whole, _ = fit(precision="no")
    mixed, history = fit(precision="bf16")
    assert all(math.isfinite(record["loss"]) for record in history)
    assert all(p.dtype == torch.float32 for p in mixed.parameters())
    assert equal(weights(fit(precision="no")[0]), weights(whole))
    assert not equal(weights(mixed), weights(whole))
    torch.testing.assert_close(mixed.line.weight, whole.line.weight, rtol=0.1, atol=0.1)


def test_half_precision_on_a_cpu_resumes_to_the_bit(tmp_path):
    """Gradients of 1e-7 are lost in float16 unless the loss is scaled, and the scale belongs to the checkpoint."""
    small = [(x, 1e-4 * y) for x, y in batches()]
    whole, history = fit(small, precision="fp16", epochs=3)
    assert not equal(weights(whole), weights(fit(small, epochs=3)[0]))
    assert history[-1]["loss"] < history[0]["loss"]
    module, count = Toy(), itertools.count()
    interrupted(module, lambda: next(count) == 7, loader=small, precision="fp16", epochs=3, checkpoint=tmp_path / "run")
    assert equal(weights(fit(small, precision="fp16", epochs=3, checkpoint=tmp_path / "run")[0]), weights(whole))


PRECISIONS = """
import sys, torch
import test_loop
assert "accelerate" not in sys.modules
test_loop.fit(precision="bf16")
assert "accelerate" not in sys.modules  # one process needs none
import accelerate
mine = accelerate.Accelerator(mixed_precision="bf16", cpu=True)
before = dict(accelerate.state.AcceleratorState._shared_state)
for precision in ("no", "fp16"):
    test_loop.fit(precision=precision)
    assert mine.mixed_precision == "bf16" and accelerate.Accelerator().mixed_precision == "bf16"
assert dict(accelerate.state.AcceleratorState._shared_state) == before
with mine.autocast():
    assert torch.ones(2, 2).matmul(torch.ones(2, 2)).dtype == torch.bfloat16
"""


def test_a_users_own_accelerate_is_left_alone():
    path = os.pathsep.join([str(HERE / "training"), ENVIRONMENT["PYTHONPATH"]])
    subprocess.run([sys.executable, "-c", PRECISIONS], env={**ENVIRONMENT, "PYTHONPATH": path}, check=True)


class Reads(TorchDispatchMode):
    """Counts what waits for a device: numbers that are read from it."""

    WAITS = tuple(getattr(torch.ops.aten, name).default for name in ("_local_scalar_dense", "nonzero", "equal"))

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function in self.WAITS
        return function(*args, **kwargs or {})


def test_a_step_does_not_wait_for_the_device(monkeypatch):
    monkeypatch.setattr(loop, "_steps_between_looks", lambda _device: 1000)
    # AdamW counts its steps in tensors, which stay on the CPU.
    monkeypatch.setattr(torch.optim, "AdamW", lambda parameters, lr, weight_decay: torch.optim.SGD(parameters, lr))
    read = {}
    for count in (3, 30):
        with Reads() as reads:
            fit(batches()[:1] * count, epochs=1)
        read[count] = reads.count
    assert read[3] == read[30]


# Checkpoints ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loader", [None, "shuffled", Growing()])
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_run_resumes_to_the_bit(tmp_path, loader, precision):
    def made():
        if loader == "shuffled":
            return DataLoader(TensorDataset(*data()), batch_size=4, shuffle=True)
        return loader

    options = {"epochs": 5, "precision": precision, "patience": 3}
    whole, history = fit(made(), val_loader=batches(), **options)
    for died in (0, 3, 8, 14, 29):
        path = tmp_path / f"{died}"
        module, count = Toy(), itertools.count()
        interrupted(
            module,
            lambda m=module, c=count, n=died: m.training and next(c) == n,
            loader=made(),
            val_loader=batches(),
            checkpoint=path,
            **options,
        )
        assert path.exists() == (died >= 6)
        resumed, again = fit(
            made(), module=Toy(seed=99 if died >= 6 else 0), val_loader=batches(), checkpoint=path, **options
        )
        assert equal(weights(resumed), weights(whole))
        for a, b in zip(history, again, strict=True):
            assert {k: v for k, v in a.items() if k != "seconds"} == {k: v for k, v in b.items() if k != "seconds"}


@pytest.mark.parametrize(("seconds", "saved"), [(0.0, [1, 2, 3, 4]), (1e9, [4])])
def test_checkpoints_may_be_rare_but_for_the_last(tmp_path, monkeypatch, seconds, saved):
    save, epochs = run_state.RunState.save, []
    monkeypatch.setattr(run_state.RunState, "save", lambda state, path: (epochs.append(state.epoch), save(state, path)))
    first, history = fit(checkpoint=tmp_path / "run", checkpoint_seconds=seconds)
    assert epochs == saved
    again, same = fit("no loader is read", module=Toy(5), step=None, checkpoint=tmp_path / "run")  # other seconds
    assert equal(weights(first), weights(again))
    assert same == history


def test_tied_weights_are_saved(tmp_path):
    def tied():
        module = Toy()
        module.twin = nn.Linear(3, 1)
        module.twin.weight = module.line.weight
        return module

    first, _ = fit(module=tied(), checkpoint=tmp_path / "run")
    again, _ = fit(module=tied(), checkpoint=tmp_path / "run")
    assert equal(weights(first), weights(again))


@pytest.mark.parametrize("how", ["empty", "half", "text", "other", "no options", "no epoch"])
def test_a_checkpoint_that_cannot_be_read(tmp_path, how):
    path = tmp_path / "run"
    fit(checkpoint=path)
    blob = path.read_bytes()
    if how in ("empty", "half", "text"):
        path.write_bytes({"empty": b"", "half": blob[: len(blob) // 2], "text": b"not a checkpoint"}[how])
    else:
        meta = {"other": None, "no options": {"epoch": 1}, "no epoch": {"options": {}, "batches": 1}}[how]
        save_file({"a": torch.zeros(1)}, path, None if meta is None else {"run": json.dumps(meta)})
    module = Toy()
    with pytest.raises(OutputError, match=r"run' cannot be read .*; delete it"):
        fit(module=module, checkpoint=path)
    assert equal(weights(module), weights(Toy()))


@pytest.mark.parametrize("change", [{"lr": 0.06}, {"epochs": 5}, {"seed": 1}, {"patience": 2}, {"precision": "bf16"}])
def test_a_checkpoint_of_other_options_is_refused(tmp_path, change):
    path = tmp_path / "run"
    fit(checkpoint=path)
    (name,) = change
    with pytest.raises(ConfigError, match=rf"a run with {name}=.*, now {change[name]!r}"):
        fit(checkpoint=path, **change)
    fit(checkpoint=path, progress=True)


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    path = tmp_path / "run"
    fit(checkpoint=path, identity={"classifier": "abc", "widths": (1, 2)})
    fit(checkpoint=path, identity={"classifier": "abc", "widths": (1, 2)})
    with pytest.raises(ConfigError, match="classifier='abc', now 'xyz'"):
        fit(checkpoint=path, identity={"classifier": "xyz", "widths": (1, 2)})
    with pytest.raises(ConfigError, match="classifier='abc', now None"):
        fit(checkpoint=path)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    path = tmp_path / "run"
    fit(checkpoint=path)
    other = Toy()
    other.line = nn.Linear(3, 2)
    with pytest.raises(ConfigError, match="another model"):
        fit(module=other, step=lambda _: {}, checkpoint=path)


def test_validation_may_begin_with_a_resumed_run(tmp_path):
    losses = [5, 4, 3, 2, 1, 0]
    module = Scripted(losses)

    options = {"epochs": 6, "patience": 5, "checkpoint": tmp_path / "run"}
    interrupted(module, lambda: int(module.epochs) == 3, loader=["a"], **options)
    module = Scripted(losses)
    assert len(fit(["a"], module=module, val_loader=["val"], **options)[1]) == 6
    assert int(module.epochs) == 6


def test_a_checkpoint_in_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="could not write"):
        fit(checkpoint=tmp_path / "file" / "run")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError):
        fit(checkpoint=tmp_path / "folder")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fit_killed_at_any_moment_ends_with_the_same_weights(tmp_path):
    script = [sys.executable, str(HERE / "killed_fit.py"), str(tmp_path)]
    done = subprocess.run(script, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    deaths = json.loads((tmp_path / "deaths.json").read_text())
    assert len(deaths) == 6
    assert all(count >= 1 for count in deaths.values()), deaths
    whole = load_file(tmp_path / "whole.safetensors")
    for name in deaths:
        assert equal(load_file(tmp_path / f"{name}.safetensors"), whole), name
    assert (tmp_path / "half-checkpoint.safetensors").exists()


@pytest.mark.slow
def test_two_processes_end_with_the_same_decoder(tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    script = [*launch, str(HERE / "two_processes.py"), str(tmp_path)]
    environment = {**ENVIRONMENT, "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1))
    assert all(torch.isfinite(v).all() for v in first.values())
    assert equal(first, second)


def test_losses_are_means_over_clips_however_they_are_batched():
    clips = torch.randn(17, 5, generator=torch.Generator().manual_seed(0))

    def found(*sizes):
        module = nn.Linear(5, 1)
        nn.init.ones_(module.weight)

        def step(batch):
            return {"loss": module(batch["x"][0]).square().mean()}

        batches = [{"x": (part, "labels")} for part in clips.split(list(sizes))]
        options = TrainingOptions(epochs=1, lr=1e-12, weight_decay=0.0, progress=False)
        (record,) = train(module, step, batches, options, val_loader=batches)
        return record["loss"], record["val_loss"]

    torch.manual_seed(0)
    whole = found(17)
    assert whole[0] == pytest.approx(whole[1])
    for sizes in ([16, 1], [1] * 17, [3, 14]):
        torch.manual_seed(0)
        assert found(*sizes) == pytest.approx(whole, rel=1e-5)


def test_validation_draws_the_same_in_every_epoch():
    module = nn.Linear(1, 1)
    options = TrainingOptions(epochs=4, lr=1e-12, weight_decay=0.0, progress=False)
    batches = [torch.ones(2, 1)]

    def step(batch):
        return {"loss": (module(batch) * torch.rand(1)).mean()}

    history = train(module, step, batches, options, val_loader=batches)
    assert len({round(record["val_loss"], 6) for record in history}) == 1
    assert len({round(record["loss"], 6) for record in history}) == 4


class Noisy(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return torch.randn(3)


def test_workers_that_outlive_an_epoch_resume_exactly(tmp_path):
    def run(checkpoint, stop=None):
        torch.manual_seed(0)
        module, calls = nn.Linear(3, 1), []

        def step(batch):
            calls.append(0)
            if stop is not None and len(calls) > stop:
                raise KeyboardInterrupt
            return {"loss": (module(batch) - 1).square().mean()}

        generator = torch.Generator().manual_seed(5)
        before = generator.get_state()
        loader = torch.utils.data.DataLoader(
            Noisy(), 2, shuffle=True, num_workers=1, persistent_workers=True, generator=generator
        )
        options = TrainingOptions(epochs=3, checkpoint=checkpoint, progress=False)
        try:
            train(module, step, loader, options)
        except KeyboardInterrupt:
            assert stop is not None
        assert torch.equal(generator.get_state(), before)
        return module.weight.detach().clone()

    whole = run(tmp_path / "whole")
    run(tmp_path / "cut", stop=3)
    assert torch.equal(run(tmp_path / "cut"), whole)


def test_nothing_to_learn_is_told():
    module = nn.Linear(1, 1).requires_grad_(False)
    with pytest.raises(ConfigError, match="all parameters are frozen"):
        train(module, lambda x: {"loss": module(x).mean()}, [torch.ones(1, 1)], TrainingOptions(progress=False))
