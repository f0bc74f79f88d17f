"""Models that people train, small, with their losses and a batch each: for plans in a loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import transformers
from torch import nn

from tests.support import torch_models
from tests.support.planned import chain
from tests.support.torch_models import Made, of_words

F = nn.functional
SIZE = torch_models.Size(layers=2, width=32, batch=4, length=48, words=64)


def gpt2() -> Made:
    """With dropout, whose masks are as large as the attention's weights."""
    return torch_models.gpt2(0.1, SIZE.layers, seq=SIZE.length, size=SIZE)


def llama() -> Made:
    """With as many heads of keys as of queries.

    With fewer the library repeats them in another way when it is compiled, and gradients differ.
    """
    return torch_models.llama(replace(SIZE, heads=4), groups=4)


def bert() -> Made:
    """With dropout."""
    return torch_models.bert(0.1, SIZE)


def vit() -> Made:
    """Of many small patches."""
    return torch_models.vit(replace(SIZE, batch=8), pixels=16, patch=2)


def resnet() -> Made:
    """With two stages."""
    return torch_models.resnet((16, 24), batch=8)


def t5() -> Made:
    config = transformers.T5Config(
        num_layers=1,
        d_model=32,
        d_kv=8,
        num_heads=4,
        d_ff=64,
        vocab_size=64,
        use_cache=False,
        decoder_start_token_id=0,
        pad_token_id=0,
    )
    return transformers.T5ForConditionalGeneration(config), of_words, (SIZE.tokens,)


class UNet(nn.Module):
    """Two levels of convolutions with norms; each level's result goes past the deeper ones."""

    def __init__(self, channels: tuple[int, int, int] = (8, 16, 32)) -> None:
        super().__init__()
        low, middle, high = channels
        self.one, self.two, self.three = _level(3, low), _level(low, middle), _level(middle, high)
        self.up_two = nn.ConvTranspose2d(high, middle, 2, stride=2)
        self.up_one = nn.ConvTranspose2d(middle, low, 2, stride=2)
        self.back_two, self.back_one = _level(high, middle), _level(middle, low)
        self.head = nn.Conv2d(low, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = self.one(x)
        two = self.two(F.max_pool2d(one, 2))
        three = self.three(F.max_pool2d(two, 2))
        two = self.back_two(torch.cat([two, self.up_two(three)], 1))
        return self.head(self.back_one(torch.cat([one, self.up_one(two)], 1)))


def _level(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1),
        nn.BatchNorm2d(after),
        nn.ReLU(),
        nn.Conv2d(after, after, 3, padding=1),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )


def unet() -> Made:
    def loss_of(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(model(x), y)

    return UNet(), loss_of, (torch.randn(2, 3, 32, 32), torch.zeros(2, 32, 32, dtype=torch.int64))


def mlp() -> Made:
    """Linear layers with dropout, the loss inside."""
    return chain("dropout", 10, 32), lambda model, x: model(x), (torch.randn(256, 32),)


MODELS: dict[str, Callable[[], Made]] = {
    made.__name__: made for made in (gpt2, llama, bert, vit, resnet, t5, unet, mlp)
}
"""By name; each call makes new weights."""
