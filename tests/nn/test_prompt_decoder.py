"""The decoder of LMAC-ZS: what decides its masks."""

import pytest
import torch
from torch import nn

from audioxai.nn.prompt_decoder import CONDITIONINGS, PromptDecoder


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_the_decoder_depends_on_prompt_and_similarity_and_not_on_the_batch(conditioning):
    torch.manual_seed(0)
    decoder = PromptDecoder([(4, 16), (6, 8)], 20, 5, conditioning=conditioning, width=8)
    for parameter in decoder.parameters():  # some start at zero
        parameter.data += 0.1 * torch.randn_like(parameter)
    maps = [torch.randn(3, 4, 16, 30), torch.randn(3, 6, 8, 15)]
    evidence = [torch.randn_like(m) for m in maps] if "evidence" in conditioning else None
    text = nn.functional.normalize(torch.randn(3, 5), dim=1)
    similarity, values = torch.rand(3), torch.rand(3, 20, 31)
    whole = decoder(maps, evidence, text, similarity, values)
    assert whole.shape == values.shape
    one = slice(1, 2)
    alone = decoder(
        [m[one] for m in maps], evidence and [e[one] for e in evidence], text[one], similarity[one], values[one]
    )
    torch.testing.assert_close(alone, whole[1:2], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(decoder(maps, evidence, text, similarity + 0.5, values), whole, atol=1e-4)
    other = decoder(maps, evidence, text.roll(1, 0), similarity, values)
    assert torch.equal(other, whole) == (conditioning == "evidence")


def test_film_starts_without_a_say_and_gates_are_cosines():
    maps, text = [torch.randn(2, 4, 16, 30)], nn.functional.normalize(torch.randn(2, 5), dim=1)
    level = maps[0] / maps[0].square().mean((1, 2, 3), keepdim=True).sqrt()
    film = PromptDecoder([(4, 16)], 20, 5, conditioning="film")
    torch.testing.assert_close(film._condition(maps, text)[0], level)
    gate = PromptDecoder([(4, 16)], 20, 5, conditioning="gate")
    (found,) = gate._condition(maps, text)
    projected = gate.project[0](level)[1, :, 3, 7]
    cosine = (projected @ text[1] / projected.norm()).item()
    torch.testing.assert_close(found[1, :, 3, 7], cosine * level[1, :, 3, 7])
