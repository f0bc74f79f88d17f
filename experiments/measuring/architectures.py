"""Networks whose plans are compared: chains, and graphs that no planner of chains takes.

Each is made small or at a realistic width by its arguments; weights are random. The first four are
chains; a U-net and a dense net have values that bypass others, and the encoder with a decoder has
two losses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from autodiff.program import Program
from autodiff.pytorch.tracing import from_pytorch

F = nn.functional


@dataclass(frozen=True, eq=False)
class Training:
    """A model, the loss of its outputs, and a batch."""

    model: nn.Module
    loss_of: Callable[..., torch.Tensor]
    batch: tuple[torch.Tensor, ...]

    def step(self, *batch: torch.Tensor) -> Any:
        """Return the loss and the gradients of all parameters that want one."""
        wanted = [one for one in self.model.parameters() if one.requires_grad]
        loss = self.loss_of(self.model, *batch)
        return loss, torch.autograd.grad(loss, wanted)

    def program(self) -> Program:
        """Return the step as a program."""
        return from_pytorch(self.step, *self.batch, model=self.model)


def gpt2(
    layers: int = 12,
    d: int = 256,
    heads: int = 4,
    seq: int = 256,
    batch: int = 8,
    vocab: int = 2000,
    dropout: float = 0.0,
) -> Training:
    """Return GPT-2, its embedding tied to its head."""
    import transformers

    config = transformers.GPT2Config.from_dict(
        {
            "n_layer": layers,
            "n_embd": d,
            "n_head": heads,
            "vocab_size": vocab,
            "n_positions": seq,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "loss_type": "ForCausalLM",
            "resid_pdrop": dropout,
            "embd_pdrop": dropout,
            "attn_pdrop": dropout,
            "attn_implementation": "sdpa",
            "use_cache": False,
        }
    )
    tokens = torch.arange(batch * seq).reshape(batch, seq) % vocab
    return Training(
        transformers.GPT2LMHeadModel(config),
        lambda model, ids: model(input_ids=ids, labels=ids).loss,
        (tokens,),
    )


def bert(
    layers: int = 12, d: int = 256, heads: int = 4, seq: int = 128, batch: int = 16
) -> Training:
    """Return BERT as a classifier, with a mask of the last tokens."""
    import transformers

    vocab = 2000
    config = transformers.BertConfig.from_dict(
        {
            "num_hidden_layers": layers,
            "hidden_size": d,
            "num_attention_heads": heads,
            "intermediate_size": 4 * d,
            "vocab_size": vocab,
            "max_position_embeddings": seq,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "num_labels": 3,
        }
    )
    mask = torch.ones(batch, seq, dtype=torch.int64)
    mask[0, -min(6, seq // 2) :] = 0
    return Training(
        transformers.BertForSequenceClassification(config),
        lambda model, ids, mask, y: F.cross_entropy(
            model(input_ids=ids, attention_mask=mask).logits, y
        ),
        (
            torch.arange(batch * seq).reshape(batch, seq) % vocab,
            mask,
            torch.arange(batch) % 3,
        ),
    )


def resnet(batch: int = 8, size: int = 64, depths: Sequence[int] = (3, 4, 6, 3)) -> Training:
    """Return a ResNet of bottleneck blocks."""
    import transformers

    hidden = [64 * 2**place for place in range(len(depths))]
    config = transformers.ResNetConfig.from_dict(
        {
            "embedding_size": 32,
            "hidden_sizes": hidden,
            "depths": list(depths),
            "layer_type": "bottleneck",
            "num_labels": 10,
        }
    )
    return Training(
        transformers.ResNetForImageClassification(config),
        lambda model, x, y: F.cross_entropy(model(pixel_values=x).logits, y),
        (torch.randn(batch, 3, size, size), torch.arange(batch) % 10),
    )


def autoencoder(
    channels: Sequence[int] = (16, 32, 64, 128), each: int = 2, batch: int = 8, size: int = 64
) -> Training:
    """Return a convolutional autoencoder without skips."""
    layers: list[nn.Module] = [nn.Conv2d(3, channels[0], 3, padding=1), nn.ReLU()]
    for narrow, wide in pairwise(channels):
        layers += _convolutions(narrow, each)
        layers += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1), nn.ReLU()]
    for wide, narrow in pairwise(channels[::-1]):
        layers += _convolutions(wide, each)
        layers += [nn.ConvTranspose2d(wide, narrow, 2, stride=2), nn.ReLU()]
    layers.append(nn.Conv2d(channels[0], 3, 3, padding=1))
    x = torch.randn(batch, 3, size, size)
    return Training(nn.Sequential(*layers), lambda model, x: F.mse_loss(model(x), x), (x,))


def _convolutions(channels: int, count: int) -> list[nn.Module]:
    return [
        layer
        for _ in range(count)
        for layer in (nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU())
    ]


class UNet(nn.Module):
    """Blocks downwards, one at the bottom, and blocks upwards that also read those across."""

    def __init__(self, channels: Sequence[int], norm: bool) -> None:
        super().__init__()
        steps = list(pairwise(channels))
        below = [3, *channels[:-2]]
        self.down = nn.ModuleList(
            [_block(a, b, norm) for a, b in zip(below, channels[:-1], strict=True)]
        )
        self.bottom = _block(channels[-2], channels[-1], norm)
        self.up = nn.ModuleList([nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in steps[::-1]])
        self.across = nn.ModuleList([_block(2 * a, a, norm) for a, _ in steps[::-1]])
        self.head = nn.Conv2d(channels[0], 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return three scores for each pixel."""
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.bottom(x)
        for up, block in zip(self.up, self.across, strict=True):
            x = block(torch.cat([up(x), skips.pop()], 1))
        found: torch.Tensor = self.head(x)
        return found


def _block(a: int, b: int, norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (a, b):
        layers.append(nn.Conv2d(before, b, 3, padding=1))
        layers += [nn.BatchNorm2d(b)] if norm else []
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def unet(
    channels: Sequence[int] = (16, 32, 64), batch: int = 2, size: int = 32, norm: bool = True
) -> Training:
    """Return a U-net that gives each pixel a class."""
    return Training(
        UNet(channels, norm),
        lambda model, x, y: F.cross_entropy(model(x), y),
        (torch.randn(batch, 3, size, size), torch.zeros(batch, size, size, dtype=torch.int64)),
    )


class DenseNet(nn.Module):
    """Dense blocks, each layer of which reads all layers of its block before it."""

    def __init__(self, blocks: int, layers: int, growth: int, channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.blocks, self.transitions = nn.ModuleList(), nn.ModuleList()
        for _ in range(blocks):
            block = nn.ModuleList()
            for _ in range(layers):
                block.append(self._narrowed(channels, growth, 3))
                channels += growth
            self.blocks.append(block)
            self.transitions.append(
                nn.Sequential(self._narrowed(channels, channels // 2, 1), nn.AvgPool2d(2))
            )
            channels //= 2
        self.head = nn.Linear(channels, 10)

    @staticmethod
    def _narrowed(channels: int, to: int, kernel: int) -> nn.Sequential:
        convolution = nn.Conv2d(channels, to, kernel, padding=kernel // 2)
        return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), convolution)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ten scores for each image."""
        x = self.stem(x)
        for block, transition in zip(self.blocks, self.transitions, strict=True):
            for layer in block:  # type: ignore[attr-defined]  # a ModuleList
                x = torch.cat([x, layer(x)], 1)
            x = transition(x)
        found: torch.Tensor = self.head(x.mean((2, 3)))
        return found


def densenet(
    blocks: int = 3, layers: int = 3, growth: int = 8, batch: int = 4, size: int = 32
) -> Training:
    """Return a dense net as a classifier."""
    return Training(
        DenseNet(blocks, layers, growth, 16),
        lambda model, x, y: F.cross_entropy(model(x), y),
        (torch.randn(batch, 3, size, size), torch.arange(batch) % 10),
    )


class EncoderDecoder(nn.Module):
    """A transformer with a decoder, and a classifier of what its encoder gives."""

    def __init__(self, d: int, layers: int) -> None:
        super().__init__()
        self.both = nn.Transformer(d, 2, layers, layers, 4 * d, 0.0, batch_first=True)
        self.kind = nn.Linear(d, 3)
        self.out = nn.Linear(d, 11)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> Any:
        """Return the scores of each target token and of the source."""
        memory = self.both.encoder(source)
        return self.out(self.both.decoder(target, memory)), self.kind(memory.mean(1))


def encoder_decoder(
    d: int = 32, layers: int = 1, batch: int = 4, source: int = 24, target: int = 16
) -> Training:
    """Return a transformer with two losses."""

    def loss_of(model: nn.Module, *given: torch.Tensor) -> torch.Tensor:
        tokens, kind = model(*given[:2])
        return F.cross_entropy(tokens.flatten(0, 1), given[2]) + 0.3 * F.cross_entropy(
            kind, given[3]
        )

    return Training(
        EncoderDecoder(d, layers),
        loss_of,
        (
            torch.randn(batch, source, d),
            torch.randn(batch, target, d),
            torch.arange(batch * target) % 11,
            torch.arange(batch) % 3,
        ),
    )
