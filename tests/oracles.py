"""Naive second versions of what the package computes: slow, plain, written from the formulas."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np


def synthetic_clip(seconds: float, rate: int) -> np.ndarray:
    """A rising tone, a fixed tone, noise and a silent gap; (T,) float32, the same on every machine."""
    n = np.arange(round(seconds * rate))
    t = n / rate
    sweep = np.sin(2 * np.pi * (200.0 + 0.2 * rate * t / seconds) * t)
    noise = np.modf(np.sin(12.9898 * n) * 43758.5453)[0]
    clip = 0.4 * sweep + 0.2 * np.sin(2 * np.pi * 1000.0 * t) + 0.05 * noise
    clip[int(0.45 * len(n)) : int(0.55 * len(n))] = 0.0
    return clip.astype(np.float32)


def window(name: str, length: int) -> np.ndarray:
    """Periodic window from its cosine formula."""
    a = {"hann": 0.5, "hamming": 0.54, "rect": 1.0}[name]
    return np.array([a - (1 - a) * math.cos(2 * math.pi * n / length) for n in range(length)])


def padded_window(name: str, win_length: int, n_fft: int) -> np.ndarray:
    """The window in the middle of ``n_fft`` zeros."""
    left = (n_fft - win_length) // 2
    return np.concatenate([np.zeros(left), window(name, win_length), np.zeros(n_fft - win_length - left)])


def stft(
    x: np.ndarray,
    n_fft: int,
    win_length: int,
    hop: int,
    window_name: str,
    center: bool = True,
    pad_mode: str = "constant",
) -> np.ndarray:
    """(T,) to (F, N) complex: frame by frame, times the matrix of the discrete Fourier transform."""
    x = np.asarray(x, dtype=np.float64)
    if center:
        mode = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}[pad_mode]
        x = np.pad(x, n_fft // 2, mode=mode)
    k, n = np.arange(n_fft // 2 + 1)[:, None], np.arange(n_fft)[None]
    dft = np.exp(-2j * np.pi * k * n / n_fft)
    w = padded_window(window_name, win_length, n_fft)
    frames = []
    start = 0
    while start + n_fft <= len(x):
        frames.append(dft @ (x[start : start + n_fft] * w))
        start += hop
    return np.stack(frames, axis=1)


def hz_to_mel(hz: float, mel_scale: str) -> float:
    if mel_scale == "htk":
        return 2595.0 * math.log10(1.0 + hz / 700.0)
    return 3.0 * hz / 200.0 if hz < 1000.0 else 15.0 + 27.0 * math.log(hz / 1000.0) / math.log(6.4)


def mel_to_hz(mel: float, mel_scale: str) -> float:
    if mel_scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    return 200.0 * mel / 3.0 if mel < 15.0 else 1000.0 * 6.4 ** ((mel - 15.0) / 27.0)


def mel_filters(
    n_freqs: int,
    f_min: float,
    f_max: float,
    n_mels: int,
    sample_rate: int,
    norm: str | None = None,
    mel_scale: str = "htk",
    triangles: str = "standard",
) -> np.ndarray:
    """(F, M) triangles, one value after the other, drawn in Hz."""
    low, high = hz_to_mel(f_min, mel_scale), hz_to_mel(f_max, mel_scale)
    points = [mel_to_hz(low + (high - low) * i / (n_mels + 1), mel_scale) for i in range(n_mels + 2)]
    bank = np.zeros((n_freqs, n_mels))
    for m in range(n_mels):
        left, centre, right = points[m : m + 3]
        if triangles == "reference":  # both sides as wide as the left one
            right = centre + (centre - left)
        for k in range(n_freqs):
            f = k * (sample_rate / 2) / (n_freqs - 1)
            if left < f <= centre:
                bank[k, m] = (f - left) / (centre - left)
            elif centre < f < right:
                bank[k, m] = (right - f) / (right - centre)
        if norm == "slaney":
            bank[:, m] *= 2.0 / (right - left)
    return bank


def resample(
    x: np.ndarray, orig: int, new: int, width: int = 6, rolloff: float = 0.99, beta: float | None = None
) -> np.ndarray:
    """Windowed-sinc interpolation: every output sample is a sum over every input sample."""
    cutoff = min(orig, new) * rolloff
    out = np.zeros(math.ceil(len(x) * new / orig))
    for m in range(len(out)):
        total = 0.0
        for n in range(len(x)):
            t = cutoff * (n / orig - m / new)  # in zero crossings of the sinc
            if abs(t) >= width:
                continue
            if beta is None:
                taper = math.cos(math.pi * t / width / 2) ** 2
            else:
                taper = float(np.i0(beta * math.sqrt(1 - (t / width) ** 2)) / np.i0(beta))
            sinc = 1.0 if t == 0 else math.sin(math.pi * t) / (math.pi * t)
            total += float(x[n]) * sinc * taper
        out[m] = total * cutoff / orig
    return out


def mix_at_snr(signal: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """Signal plus noise, the noise scaled to 1 / 10^(snr / 10) of the signal's energy."""
    energy_signal = sum(float(s) ** 2 for s in signal)
    energy_noise = sum(float(n) ** 2 for n in noise)
    factor = math.sqrt(energy_signal / (energy_noise * 10 ** (snr / 10)))
    return np.array([float(s) + factor * float(n) for s, n in zip(signal, noise, strict=True)])


def to_db(value: float, multiplier: float = 10.0, amin: float = 1e-10) -> float:
    return multiplier * math.log10(max(value, amin))


def bin_gains(bank: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """Band gains (B, M, N) to bin gains (B, F, N): the weighted average over the bands that cover a bin; a bin under
    no band takes the value of the band whose peak is nearest."""
    bins, bands = bank.shape
    result = np.zeros((gains.shape[0], bins, gains.shape[2]))
    for f in range(bins):
        total = sum(bank[f, m] for m in range(bands))
        if total > 1e-6:
            for m in range(bands):
                result[:, f] += bank[f, m] / total * gains[:, m]
        else:
            peaks = [int(np.argmax(bank[:, m])) for m in range(bands)]
            result[:, f] = gains[:, min(range(bands), key=lambda m: (abs(peaks[m] - f), m))]
    return result


def softmax(logits: np.ndarray) -> np.ndarray:
    """Row-wise softmax."""
    exponentials = [[math.exp(v - max(row)) for v in row] for row in logits.tolist()]
    return np.array([[v / sum(row) for v in row] for row in exponentials])


def of_predicted(*probs: list[float]) -> list[float]:
    """The probability of the first one's highest class in each."""
    return [row[probs[0].index(max(probs[0]))] for row in probs]


def average_increase(probs: list[float], probs_kept: list[float]) -> float:
    """100 where the class is the likelier for what is kept."""
    p, o = of_predicted(probs, probs_kept)
    return 100.0 if o > p else 0.0


def average_drop(probs: list[float], probs_kept: list[float]) -> float:
    """How much of the class's probability is lost, in percent."""
    p, o = of_predicted(probs, probs_kept)
    return 100.0 * max(0.0, p - o) / p if p > 0 else 0.0


def average_gain(probs: list[float], probs_kept: list[float]) -> float:
    """How much of what the class could gain it gains, in percent."""
    p, o = of_predicted(probs, probs_kept)
    return 100.0 * max(0.0, o - p) / (1 - p) if p < 1 else 0.0


def faithfulness(probs: list[float], probs_removed: list[float]) -> float:
    """How far the class falls without the explained part."""
    p, m = of_predicted(probs, probs_removed)
    return p - m


def input_fidelity(probs: list[float], probs_kept: list[float]) -> float:
    """1 where the highest class stays."""
    return 1.0 if probs_kept.index(max(probs_kept)) == probs.index(max(probs)) else 0.0


def sparseness(mask: list[float]) -> float:
    """Mean absolute difference over twice the mean."""
    n, total = len(mask), sum(mask)
    return sum(abs(a - b) for a in mask for b in mask) / (2 * n * total)


def complexity(mask: list[float]) -> float:
    """Entropy in nats of a mask as a distribution."""
    shares = [m / sum(mask) for m in mask]
    return -sum(share * math.log(share) for share in shares if share > 0)


def mask_mean(mask: list[float]) -> float:
    """Mean of the cells."""
    return sum(mask) / len(mask)


def interference_gain(mask: list[float], stem: list[float], other: list[float]) -> tuple[float, float]:
    """Gain in signal-to-interference ratio in dB and kept share of the stem's energy, cell by cell."""
    kept = [sum((m * a) ** 2 for m, a in zip(mask, part, strict=True)) for part in (stem, other)]
    whole = [sum(a**2 for a in part) for part in (stem, other)]
    before = whole[0] / whole[1]
    gain = 10 * math.log10(kept[0] / kept[1] / before) if kept[1] > 0 else math.nan
    return gain, kept[0] / whole[0]


def conv_net_sizes(rows: int, columns: int, pools: list[int]) -> list[tuple[int, int]]:
    """Sizes after each block of convolutions that keep the size and poolings that halve it, rounding down."""
    sizes = []
    for pool in pools:
        rows, columns = rows // pool, columns // pool
        sizes.append((rows, columns))
    return sizes


def reference_drop(p: list[float], kept: list[float]) -> float:
    """The published average drop: probabilities go through a softmax once more."""
    c = p.index(max(p))
    again = [softmax(np.array([row]))[0][c] for row in (p, kept)]
    return 100 * max(0.0, again[0] - again[1]) / (again[0] + 1e-10)


def reference_gini(masks: list[list[float]]) -> list[float]:
    """The published sparseness: over the batch's maximum, plus 1e-7."""
    peak = max(max(mask) for mask in masks)
    return [sparseness([value / peak + 1e-7 for value in mask]) for mask in masks]


def auc_of_order(insertion: bool, predict, values: list[float], mask: list[float], shuffled, steps: int = 16) -> float:
    """Area under the curve of predictions as cells go (or come) from the highest to the lowest, by trapezoids; equal
    cells in the order of ``shuffled``."""
    order = sorted(range(len(mask)), key=lambda i: (-mask[i], shuffled.index(i)))
    points = []
    for step in range(steps + 1):
        chosen = set(order[: round(step * len(mask) / steps)])
        points.append(predict([v if (i in chosen) == insertion else 0.0 for i, v in enumerate(values)]))
    return sum((a + b) / 2 for a, b in itertools.pairwise(points)) / steps


insertion_auc, deletion_auc = (functools.partial(auc_of_order, insertion) for insertion in (True, False))


def ratio_mask_overlap(mask: list[float], stem: list[float], other: list[float]) -> float:
    """Mass of the mask times the ideal ratio mask, cell by cell, over all its mass."""
    inside = sum(m * a * a / (a * a + b * b) for m, a, b in zip(mask, stem, other, strict=True) if a or b)
    return inside / sum(mask)


def pointing_game(mask: list[float], stem: list[float], other: list[float]) -> float:
    """Of the cells with the highest value, the share where the stem is the louder part."""
    hits = [a > b for m, a, b in zip(mask, stem, other, strict=True) if m == max(mask)]
    return sum(hits) / len(hits)


def mask_auc(mask: list[float], stem: list[float], other: list[float]) -> float:
    """Over all pairs of an audible cell of the stem and one of the rest: how often is the mask higher on the first?"""
    loudest = max(a * a + b * b for a, b in zip(stem, other, strict=True))
    heard = [(m, a > b) for m, a, b in zip(mask, stem, other, strict=True) if a * a + b * b > 1e-6 * loudest]
    pairs = [(m > k) + 0.5 * (m == k) for m, own in heard if own for k, other_own in heard if not other_own]
    return sum(pairs) / len(pairs) if pairs else math.nan


def si_sdr(estimate: list[float], reference: list[float]) -> float:
    """Energy of the estimate's projection on the reference over that of the rest, in dB, means removed."""
    e, r = ([v - sum(x) / len(x) for v in x] for x in (estimate, reference))
    scale = sum(a * b for a, b in zip(e, r, strict=True)) / sum(b * b for b in r)
    target = [scale * b for b in r]
    noise = [a - t for a, t in zip(e, target, strict=True)]
    return 10 * math.log10(sum(t * t for t in target) / sum(n * n for n in noise))


def f_fidelity(predict, values: list[float], mask: list[float], sizes, alpha, beta, draws, permutations) -> list[float]:
    """Mean falls when some of the highest cells, all different, and some of the others are silenced, cell by cell."""
    order = sorted(range(len(mask)), key=lambda i: -mask[i])
    falls: list[list[float]] = [[], []]
    for size in sizes:
        top = max(1, round(size * len(mask)))
        for side, (among, share) in enumerate(((order[:top], size), (order[top:], 1 - size))):
            count = max(1, round(min(alpha * share, beta) * len(mask)))
            for _ in range(draws):
                gone = {among[k] for k in next(permutations)[:count]}
                left = [0.0 if i in gone else v for i, v in enumerate(values)]
                falls[side].append(predict(values) - predict(left))
    return [sum(fall) / len(fall) for fall in falls]


def infidelity(score, values: list[float], attribution: list[float], perturbations: list[list[float]]) -> float:
    """Mean squared miss of what the attribution says that each change does to the score."""
    misses = []
    for change in perturbations:
        said = sum(c * a for c, a in zip(change, attribution, strict=True))
        done = score(values) - score([v - c for v, c in zip(values, change, strict=True)])
        misses.append((said - done) ** 2)
    return sum(misses) / len(misses)


def max_sensitivity(explain, waveform: list[float], noises: list[list[float]]) -> float:
    """The farthest that the attribution moves, in its own length."""

    def length(vector):
        return math.sqrt(sum(v * v for v in vector))

    plain = explain(waveform)
    moved = [explain([c + n for c, n in zip(waveform, noise, strict=True)]) for noise in noises]
    return max(length([a - b for a, b in zip(m, plain, strict=True)]) for m in moved) / length(plain)


def biquad(b: list[float], a: list[float], x: list[float]) -> list[float]:
    """A filter of second order, sample by sample."""
    y: list[float] = []
    for n in range(len(x)):
        past = [x[n - k] if n >= k else 0.0 for k in range(3)]
        fed = [y[n - k] if n >= k else 0.0 for k in (1, 2)]
        y.append(sum(c * v for c, v in zip(b, past, strict=True)) - a[1] * fed[0] - a[2] * fed[1])
    return y


def loudness_48k(x: list[float]) -> float:
    """BS.1770-4 for one channel at 48 kHz, with the coefficients of its tables and every block on its own."""
    x = biquad([1.53512485958697, -2.69169618940638, 1.19839281085285], [1, -1.69065929318241, 0.73248077421585], x)
    x = biquad([1.0, -2.0, 1.0], [1, -1.99004745483398, 0.99007225036621], x)
    blocks = [x[start : start + 19200] for start in range(0, len(x) - 19200 + 1, 4800)]
    powers = [sum(v * v for v in block) / 19200 for block in blocks]

    def level(power):
        return -0.691 + 10 * math.log10(power) if power > 0 else -math.inf

    first = [p for p in powers if level(p) > -70]
    if not first:
        return -math.inf
    second = [p for p in first if level(p) > level(sum(first) / len(first)) - 10]
    return level(sum(second) / len(second))


def similarity(kept, clean):
    """Cosine of log(1 + amplitude)."""
    a, b = np.log1p(kept.astype(np.float64)).ravel(), np.log1p(clean.astype(np.float64)).ravel()
    return float(sum(a * b) / (math.sqrt(sum(a * a)) * math.sqrt(sum(b * b))))


def binary_guidance(mask, clean, threshold=0.35):
    """Mean cross-entropy of a mask against the cells whose log(1 + amplitude) is at least a share of the maximum."""
    levels = np.log1p(clean.astype(np.float64)).ravel()
    bound = threshold * max(levels)
    losses = [
        -math.log(m) if level >= bound else -math.log(1 - m) for m, level in zip(mask.ravel(), levels, strict=True)
    ]
    return sum(losses) / len(losses)


def norm_guidance(kept, clean):
    """Squared distance over the clean energy."""
    pairs = list(zip(kept.ravel().tolist(), clean.ravel().tolist(), strict=True))
    return sum((k - c) ** 2 for k, c in pairs) / sum(c * c for _, c in pairs)


def nmf_step(v, w, h) -> tuple[list[list[float]], list[list[float]]]:
    """One multiplicative update of W, then of H, with the new W (Lee & Seung 2000, theorem 1), cell by cell."""
    rows, frames, parts = range(len(v)), range(len(v[0])), range(len(h))

    def model(f, n):
        return sum(w[f][r] * h[r][n] for r in parts)

    new = [
        [w[f][r] * sum(v[f][n] * h[r][n] for n in frames) / sum(model(f, n) * h[r][n] for n in frames) for r in parts]
        for f in rows
    ]
    w = new
    return w, [
        [h[r][n] * sum(w[f][r] * v[f][n] for f in rows) / sum(w[f][r] * model(f, n) for f in rows) for n in frames]
        for r in parts
    ]


def component_mask(w, h, kept: list[bool], floor: float = 1e-10) -> list[list[float]]:
    """What the kept components give of all that W H gives, cell by cell."""
    parts = range(len(kept))
    return [
        [
            sum(w[f][r] * h[r][n] for r in parts if kept[r]) / (sum(w[f][r] * h[r][n] for r in parts) + floor)
            for n in range(len(h[0]))
        ]
        for f in range(len(w))
    ]


def component_relevance(weights: list[float], pooled: list[float]) -> list[float]:
    """A class's weight of each component times its pooled activation, over the largest magnitude."""
    products = [a * b for a, b in zip(weights, pooled, strict=True)]
    largest = max(abs(p) for p in products)
    return [p / largest if largest else 0.0 for p in products]


def signed_rank_p(differences: list[float]) -> float:
    """Two-sided p of the signed-rank test from all changes of sign, one by one."""
    sizes = [abs(d) for d in differences if d]
    ranks = [sum(s < size for s in sizes) + (1 + sum(s == size for s in sizes)) / 2 for size in sizes]
    seen = sum(rank for rank, d in zip(ranks, [d for d in differences if d], strict=True) if d > 0)
    sums = [
        sum(rank for rank, up in zip(ranks, signs, strict=True) if up)
        for signs in itertools.product([False, True], repeat=len(ranks))
    ]
    below, above = sum(s <= seen for s in sums), sum(s >= seen for s in sums)
    return min(1.0, 2 * min(below, above) / len(sums))


def holm(p: list[float]) -> list[float]:
    """Holm's correction, each value on its own: the highest of what it and each smaller one must pay."""
    corrected = []
    for i, mine in enumerate(p):
        paid = []
        for j, other in enumerate(p):
            if (other, j) <= (mine, i):
                smaller = sum((q, k) < (other, j) for k, q in enumerate(p))
                paid.append((len(p) - smaller) * other)
        corrected.append(min(1.0, max(paid)))
    return corrected


def kaldi_fbank(x, rate, bands, low, high, window_type, frame_length=25.0, frame_shift=10.0, preemphasis=0.97, dc=True):
    """(T,) to (N, M): frame by frame and filter by filter, from Kaldi's feature-window and mel-computations."""
    length, shift = int(rate * frame_length / 1000), int(rate * frame_shift / 1000)
    n_fft = 2 ** math.ceil(math.log2(length))
    cosine = [math.cos(2 * math.pi * n / (length - 1)) for n in range(length)]
    shape = {
        "povey": lambda c: (0.5 - 0.5 * c) ** 0.85,
        "hanning": lambda c: 0.5 - 0.5 * c,
        "hamming": lambda c: 0.54 - 0.46 * c,
        "rectangular": lambda c: 1.0,
    }[window_type]

    def mel(hz: float) -> float:
        return 1127.0 * math.log(1.0 + hz / 700.0)

    edges = [mel(low) + (mel(high) - mel(low)) * m / (bands + 1) for m in range(bands + 2)]
    rows = []
    for start in range(0, len(x) - length + 1, shift):
        frame = [float(v) for v in x[start : start + length]]
        mean = sum(frame) / length if dc else 0.0
        frame = [v - mean for v in frame]
        sharp = [frame[n] - preemphasis * frame[max(n - 1, 0)] for n in range(length)]
        spectrum = np.fft.rfft([v * shape(c) for v, c in zip(sharp, cosine, strict=True)], n_fft)
        row = []
        for left, centre, right in zip(edges, edges[1:], edges[2:], strict=False):
            energy = 0.0
            for k in range(n_fft // 2):
                m = mel(k * rate / n_fft)
                if left < m < right:
                    weight = (m - left) / (centre - left) if m <= centre else (right - m) / (right - centre)
                    energy += weight * abs(spectrum[k]) ** 2
            row.append(math.log(max(energy, 1.1920928955078125e-07)))
        rows.append(row)
    return np.array(rows)


def ctc_probability(probabilities: list[list[float]], target: list[int], blank: int = 0) -> float:
    """Sum over every path through (N, V) whose repetitions, then blanks, taken out leave the target."""
    total = 0.0
    for path in itertools.product(range(len(probabilities[0])), repeat=len(probabilities)):
        if [k for k, _ in itertools.groupby(path) if k != blank] == target:
            total += math.prod(row[k] for row, k in zip(probabilities, path, strict=True))
    return total


def half_overlapping_frames(clip: list[float], kernel: int) -> list[list[float]]:
    """Frames of ``kernel`` samples, centred half a kernel apart from the first sample on, zeros outside the clip."""
    half = kernel // 2
    count = 1 + math.ceil(len(clip) / half)
    at = dict(enumerate(clip))
    return [[at.get(n * half - half + i, 0.0) for i in range(kernel)] for n in range(count)]


def rectified_filters(clip: list[float], filters: list[list[float]]) -> list[list[float]]:
    """max(0, <filter, frame>), filters by frames."""
    frames = half_overlapping_frames(clip, len(filters[0]))
    return [[max(0.0, sum(a * b for a, b in zip(f, frame, strict=True))) for frame in frames] for f in filters]


def transposed_filters(coefficients: list[list[float]], filters: list[list[float]], samples: int) -> list[float]:
    """Every coefficient adds its filter where its frame was."""
    half = len(filters[0]) // 2
    total = [0.0] * samples
    for row, filter_ in zip(coefficients, filters, strict=True):
        for n, weight in enumerate(row):
            for i, tap in enumerate(filter_):
                if 0 <= (t := n * half - half + i) < samples:
                    total[t] += weight * tap
    return total


def windowed_fourier(clip: list[float], kernel: int) -> list[list[float]]:
    """Real parts, then imaginary parts, of the unitary DFT of frames under the root of a Hann window."""
    parts: list[list[float]] = [[], []]
    for k in range(kernel // 2 + 1):
        sums = [
            sum(
                x * math.sin(math.pi * i / kernel) * complex(math.cos(a := 2 * math.pi * k * i / kernel), -math.sin(a))
                for i, x in enumerate(frame)
            )
            / math.sqrt(kernel)
            for frame in half_overlapping_frames(clip, kernel)
        ]
        parts[0].append([s.real for s in sums])
        parts[1].append([s.imag for s in sums])
    return parts[0] + parts[1]


def chunks(frames: list[float], size: int) -> list[list[float]]:
    """Chunks that overlap by half, as rows of places by columns of chunks; zeros outside."""
    half = size // 2
    count = math.ceil(len(frames) / half) + 1
    at = dict(enumerate(frames))
    return [[at.get(s * half - half + i, 0) for s in range(count)] for i in range(size)]


def join_chunks(rows: list[list[float]], frames: int) -> list[float]:
    """The mean of all values that chunks have for a frame."""
    half = len(rows) // 2
    found: list[list[float]] = [[] for _ in range(frames)]
    for i, row in enumerate(rows):
        for s, value in enumerate(row):
            if 0 <= (t := s * half - half + i) < frames:
                found[t].append(value)
    return [sum(values) / len(values) for values in found]


def energy_share(kept: list[float], clip: list[float]) -> float:
    """Sum of squares over sum of squares."""
    return sum(v * v for v in kept) / sum(v * v for v in clip)


def si_sar(estimate: list[float], stem: list[float], other: list[float]) -> float:
    """Energy of the least-squares fit of both parts to the estimate over that of what is left, in dB, means removed."""
    e, s, o = (np.array(x) - np.mean(x) for x in (estimate, stem, other))
    parts = np.stack([s, o], 1)
    fit = parts @ np.linalg.lstsq(parts, e, rcond=None)[0]
    return 10 * math.log10(float((fit**2).sum()) / float(((e - fit) ** 2).sum()))


def zero_shot_logits(audio: list[list[float]], text: list[list[float]], temperature: float) -> list[list[float]]:
    """Temperature times the cosine of every clip and every prompt."""

    def length(vector):
        return math.sqrt(sum(v * v for v in vector))

    return [
        [temperature * sum(x * y for x, y in zip(a, t, strict=True)) / (length(a) * length(t)) for t in text]
        for a in audio
    ]


def contrastive(logits: list[list[float]], matches: list[list[bool]]) -> float:
    """Mean over the clips, and over the texts, of -log softmax, averaged over the matches of each; those without are
    left out."""

    def one_way(rows, right):
        found = []
        for row, marks in zip(rows, right, strict=True):
            total = sum(math.exp(v) for v in row)
            hits = [math.log(total) - v for v, mark in zip(row, marks, strict=True) if mark]
            if hits:
                found.append(sum(hits) / len(hits))
        return sum(found) / len(found) if found else 0.0

    turned = [list(column) for column in zip(*logits, strict=True)], [list(c) for c in zip(*matches, strict=True)]
    return (one_way(logits, matches) + one_way(*turned)) / 2


def heard_steps(size: int, fill: str, starts: list[int], samples: int, steps: int) -> list[int | None]:
    """For every step of a network's maps, window by window: which of the clip's own steps it hears, or none."""
    own = max(1, samples * steps // size)
    found: list[int | None] = []
    for start in starts:
        for step in range(steps):
            time = (step + 0.5) * size / steps
            if samples < size:
                copies = {"pad": 1, "repeatpad": size // samples, "repeat": size // samples + 1}[fill]
                place = time % samples if time < copies * samples or step == 0 else None
            else:
                place = start + time
            found.append(None if place is None else min(own - 1, int(place / samples * own + 1e-9)))
    return found


def prompt_diversity(masks: list[list[float]], text: list[list[float]], form: str) -> float:
    """Of one clip's masks under several prompts: a mean over all ordered pairs."""

    def cosine(a, b):
        lengths = [math.sqrt(sum(x * x for x in v)) for v in (a, b)]
        return 0.0 if min(lengths) < 1e-6 else sum(x * y for x, y in zip(a, b, strict=True)) / math.prod(lengths)

    found = []
    for i in range(len(masks)):
        for k in range(len(masks)):
            if i == k:
                continue
            m, t = cosine(masks[i], masks[k]), cosine(text[i], text[k])
            if form == "cosine":
                found.append(max(0.0, m - max(0.0, t)))
            elif form == "geometry":
                found.append(abs(m - t))
            else:
                found.append(-sum(abs(x - y) for x, y in zip(masks[i], masks[k], strict=True)) / len(masks[i]))
    return sum(found) / len(found) if found else 0.0


def band_weights(pitch: list[float], bands: int) -> list[list[float]]:
    """Linear interpolation of evenly spaced bands at rows of a given place in [0, 1), the last band held to the end."""
    places = [min(p * bands, bands - 1) for p in pitch]
    return [[max(0.0, 1 - abs(place - g)) for place in places] for g in range(bands)]


def in_bands(column: list[float], pitch: list[float], bands: int) -> list[float]:
    """Averages of rows in bands, each row weighted as it is interpolated; between its neighbours where none is near."""
    places = [min(p * bands, bands - 1) for p in pitch]
    found = []
    for g, weights in enumerate(band_weights(pitch, bands)):
        if sum(weights) >= 1e-3:
            found.append(sum(w * x for w, x in zip(weights, column, strict=True)) / sum(weights))
        else:
            found.append(float(np.interp(g, places, column)))
    return found


def planes_of_values(values: np.ndarray, gradient: np.ndarray, pitch: list[float], bands: int) -> np.ndarray:
    """Evidence of one clip's values (F, N) for and against, averaged in bands, over the mean of both: (2, G, N)."""
    signs = [np.maximum(values * gradient, 0), np.maximum(-values * gradient, 0)]
    planes = np.array([np.transpose([in_bands(list(column), pitch, bands) for column in part.T]) for part in signs])
    return np.log1p(planes / planes.mean())


def resized(column: list[float], size: int) -> list[float]:
    """A triangle around each new place, as wide as the old steps or the new ones, whichever are wider."""
    scale = len(column) / size
    width, found = max(1.0, scale), []
    for i in range(size):
        centre = (i + 0.5) * scale - 0.5
        weights = [max(0.0, 1 - abs(j - centre) / width) for j in range(len(column))]
        found.append(sum(w * x for w, x in zip(weights, column, strict=True)) / sum(weights))
    return found


def planes_of_depth(h: np.ndarray, slope: np.ndarray, rows: int, to_bands: np.ndarray, frames: int) -> np.ndarray:
    """One clip's latents (C, H, W) as evidence for and against and level, in bands: (3, G, N).

    Maps are stretched to ``rows`` rows, and these weighted into the bands by ``to_bands`` (R, G).
    """
    c, height, width = h.shape
    planes = np.zeros((3, height, width))
    for i in range(height):
        for j in range(width):
            evidence = [h[k, i, j] * slope[k, i, j] for k in range(c)]
            planes[0, i, j] = sum(e for e in evidence if e > 0)
            planes[1, i, j] = sum(-e for e in evidence if e < 0)
            planes[2, i, j] = math.sqrt(sum(h[k, i, j] ** 2 for k in range(c)) / c)
    planes[:2] = np.log1p(planes[:2] / planes[:2].mean())
    planes[2] = planes[2] / planes[2].mean() - 1
    tall = np.array([np.transpose([resized(list(column), rows) for column in plane.T]) for plane in planes])
    wide = np.array([[resized(list(row), frames) for row in plane] for plane in tall])
    return np.einsum("rg,prn->pgn", to_bands, wide)


def planes_of_sound(values: np.ndarray, pitch: list[float], bands: int) -> np.ndarray:
    """One clip's level (F, N) in decibels of no unit, in deviations, and less its row's mean, in bands: (2, G, N)."""
    level = np.log(np.abs(values) + 1e-4)
    level = (level - level.mean()) / (level.std() + 1e-3)
    planes = [level, level - level.mean(1, keepdims=True)]
    return np.array([np.transpose([in_bands(list(column), pitch, bands) for column in part.T]) for part in planes])
