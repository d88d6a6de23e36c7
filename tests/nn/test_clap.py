"""The text tower by the book: words, n-grams, weights; and what it does with words it has not seen."""

import math
import zlib

import pytest
import torch

from audioxai.errors import ConfigError
from audioxai.nn import CompactCLAP, NgramEncoder


def naive_embedding(encoder, text):
    """One sentence, word by word and n-gram by n-gram."""
    table = encoder.table.weight
    vectors, weights = [], []
    for word in text.lower().replace(",", " ").replace(".", " ").split():
        marked = f"<{word}>"
        pieces = {marked}
        for n in (3, 4, 5):
            for i in range(len(marked)):
                if i + n <= len(marked):
                    pieces.add(marked[i : i + n])
        rows = [table[zlib.crc32(piece.encode()) % encoder.buckets] for piece in pieces]
        vector = sum(rows) / len(rows)
        score = float((encoder.weigh.weight[0] * vector).sum() + encoder.weigh.bias[0])
        vectors.append(vector)
        weights.append(math.exp(max(-10.0, min(10.0, score))))
    mean = sum(w * v for w, v in zip(weights, vectors, strict=True)) / sum(weights)
    return encoder.head(mean)


def test_embeddings_by_the_book():
    torch.manual_seed(0)
    encoder = NgramEncoder(8, buckets=97, width=12).requires_grad_(False)
    texts = ["A dog, barking.", "rain", "the rain over a roof"]
    expected = torch.stack([naive_embedding(encoder, text) for text in texts])
    torch.testing.assert_close(encoder(texts), expected)


def test_order_case_and_marks_play_no_part():
    encoder = NgramEncoder(8)
    first, second = encoder(["a dog over rain", "Rain over a DOG!"])
    torch.testing.assert_close(first, second)


def test_a_form_of_a_word_lies_near_it():
    torch.manual_seed(0)
    encoder = NgramEncoder(64)
    bark, barked, rain = encoder(["barking", "barked", "raining"])
    near, far = (torch.cosine_similarity(bark, other, dim=0) for other in (barked, rain))
    assert near > far + 0.2


def test_texts_it_cannot_read():
    encoder = NgramEncoder(8, longest=3)
    with pytest.raises(ConfigError, match=r"'\?!' has no letter"):
        encoder(["dog", "?!"])
    with pytest.warns(UserWarning, match="has 5 words; the first 3 are read"):
        long = encoder(["one two three four five"])
    torch.testing.assert_close(long, encoder(["one two three"]))


def test_both_towers_share_a_space():
    clap = CompactCLAP(dim=16, n_mels=40)
    assert clap.audio(torch.randn(2, 30, 40)).shape == clap.text(["a", "b"]).shape == (2, 16)
    assert clap.temperature == pytest.approx(1 / 0.07)
