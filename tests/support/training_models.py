"""Models that people train, small, with their losses and a batch each: for plans in a loop."""

from __future__ import annotations

from collections.abc import Callable

import torch
import transformers
from torch import nn

from tests.support.planned import chain

F = nn.functional
Made = tuple[nn.Module, Callable[..., torch.Tensor], tuple[torch.Tensor, ...]]


def _words(batch: int = 4, length: int = 48, words: int = 64) -> torch.Tensor:
    return torch.arange(1, batch * length + 1).reshape(batch, length) % (words - 1) + 1


def _of_words(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """The model's own loss."""
    return model(input_ids=ids, labels=ids).loss


def gpt2() -> Made:
    config = transformers.GPT2Config(
        n_layer=2, n_embd=32, n_head=2, vocab_size=64, n_positions=48, use_cache=False
    )
    return transformers.GPT2LMHeadModel(config), _of_words, (_words(),)


def llama() -> Made:
    config = transformers.LlamaConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=4,
        intermediate_size=64,
        vocab_size=64,
        use_cache=False,
    )
    return transformers.LlamaForCausalLM(config), _of_words, (_words(),)


def bert() -> Made:
    config = transformers.BertConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=2,
        intermediate_size=64,
        vocab_size=64,
        max_position_embeddings=48,
        num_labels=3,
    )
    mask = torch.ones(4, 48, dtype=torch.int64)
    mask[0, -6:] = 0

    def loss_of(model: nn.Module, *args: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(model(input_ids=args[0], attention_mask=args[1]).logits, args[2])

    model = transformers.BertForSequenceClassification(config)
    return model, loss_of, (_words(), mask, torch.arange(4) % 3)


def _of_pixels(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(model(pixel_values=x).logits, y)


def vit() -> Made:
    config = transformers.ViTConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=16,
        patch_size=2,
        num_labels=3,
    )
    data = torch.randn(8, 3, 16, 16), torch.arange(8) % 3
    return transformers.ViTForImageClassification(config), _of_pixels, data


def resnet() -> Made:
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[16, 24], depths=[2, 2], layer_type="basic", num_labels=3
    )
    data = torch.randn(8, 3, 32, 32), torch.arange(8) % 3
    return transformers.ResNetForImageClassification(config), _of_pixels, data


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
    return transformers.T5ForConditionalGeneration(config), _of_words, (_words(),)


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
