"""Small PyTorch models with random weights, and their training steps: what `from_pytorch` and the
planners are tried on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
import transformers
from torch import nn

from autodiff import Program
from autodiff.pytorch import from_pytorch

F = nn.functional
Made = tuple[nn.Module, Callable[..., torch.Tensor], tuple[torch.Tensor, ...]]


def training_step(model: nn.Module, loss_of: Callable[..., torch.Tensor]) -> Callable[..., Any]:
    """A step that returns the loss and the gradients of all parameters that want one."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def step(*args: Any) -> Any:
        loss = loss_of(model, *args)
        return loss, torch.autograd.grad(loss, parameters)

    return step


@dataclass(frozen=True)
class Size:
    """How large a transformer and its batch are."""

    layers: int = 3
    width: int = 16
    heads: int = 2
    batch: int = 2
    length: int = 8
    words: int = 31

    @property
    def tokens(self) -> torch.Tensor:
        """The numbers of words: all of them, again and again."""
        return torch.arange(self.batch * self.length).reshape(self.batch, -1) % self.words

    @property
    def classes(self) -> torch.Tensor:
        """The right one of three classes, for each example."""
        return torch.arange(self.batch) % 3


SMALL = Size()


def of_words(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """A language model's own loss."""
    return model(input_ids=ids, labels=ids).loss  # type: ignore[no-any-return]


def of_pixels(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The loss of a model that classifies pictures."""
    return F.cross_entropy(model(pixel_values=x).logits, y)


def gpt2(
    dropout: float = 0.0, layers: int = 4, attention: str = "sdpa", seq: int = 8, size: Size = SMALL
) -> Made:
    """GPT-2 with its embedding tied to its head."""
    size = replace(size, layers=layers, length=seq)
    config = transformers.GPT2Config(
        n_layer=size.layers,
        n_embd=size.width,
        n_head=size.heads,
        vocab_size=size.words,
        n_positions=size.length,
        bos_token_id=0,
        eos_token_id=0,
        loss_type="ForCausalLM",
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        attn_implementation=attention,
        use_cache=False,
    )
    return transformers.GPT2LMHeadModel(config), of_words, (size.tokens,)


def bert(dropout: float = 0.0, size: Size = SMALL) -> Made:
    """BERT with a mask that is given: a norm after every block, one mask for all of them."""
    config = transformers.BertConfig(
        num_hidden_layers=size.layers,
        hidden_size=size.width,
        num_attention_heads=size.heads,
        intermediate_size=2 * size.width,
        vocab_size=size.words,
        max_position_embeddings=size.length,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        num_labels=3,
    )
    mask = torch.ones(size.batch, size.length, dtype=torch.int64)
    mask[0, 3 * size.length // 4 :] = 0

    def loss_of(
        model: nn.Module, ids: torch.Tensor, mask: torch.Tensor, y: torch.Tensor
    ) -> torch.Tensor:
        return F.cross_entropy(model(input_ids=ids, attention_mask=mask).logits, y)

    model = transformers.BertForSequenceClassification(config)
    return model, loss_of, (size.tokens, mask, size.classes)


def vit(size: Size = SMALL, pixels: int = 8, patch: int = 4) -> Made:
    """A vision transformer."""
    config = transformers.ViTConfig(
        num_hidden_layers=size.layers,
        hidden_size=size.width,
        num_attention_heads=size.heads,
        intermediate_size=2 * size.width,
        image_size=pixels,
        patch_size=patch,
        num_labels=3,
    )
    pictures = torch.randn(size.batch, 3, pixels, pixels)
    model = transformers.ViTForImageClassification(config)
    return model, of_pixels, (pictures, size.classes)


def llama(size: Size = SMALL, groups: int = 1) -> Made:
    """Llama: norms that are written out, positions that turn with cosines which all blocks read.

    `groups` are the heads of keys and values, which several heads of queries share.
    """
    config = transformers.LlamaConfig(
        hidden_size=size.width,
        intermediate_size=2 * size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=groups,
        vocab_size=size.words,
        max_position_embeddings=size.length,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        use_cache=False,
    )
    return transformers.LlamaForCausalLM(config), of_words, (size.tokens,)


def autoencoder() -> Made:
    """A net that narrows and widens again, compared with its own input by a loss whose buffer is
    larger than its sum.
    """
    layers = [
        layer
        for pair in ((8, 4), (4, 2), (2, 4), (4, 8))
        for layer in (nn.Linear(*pair), nn.Tanh())
    ]
    return nn.Sequential(*layers), lambda model, x: F.mse_loss(model(x), x), (torch.randn(16, 8),)


def resnet(widths: tuple[int, int] = (8, 16), batch: int = 2) -> Made:
    """A residual network with batch norms in training mode."""
    config = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=list(widths),
        depths=[2, 2],
        layer_type="basic",
        num_labels=3,
    )
    data = torch.randn(batch, 3, 32, 32), torch.arange(batch) % 3
    return transformers.ResNetForImageClassification(config), of_pixels, data


class Block(nn.Module):
    """A residual block with its norm before it."""

    def __init__(self, d: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.up = nn.Linear(d, 2 * d)
        self.down = nn.Linear(2 * d, d)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.drop(self.down(F.gelu(self.up(self.norm(x)))))  # type: ignore[no-any-return]


def classified(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The cross entropy of the classes that a model gives."""
    return F.cross_entropy(model(x).flatten(0, -2), y)


def mlp(dropout: float = 0.0) -> Made:
    """Residual blocks one after another."""
    blocks = [Block(8, dropout) for _ in range(4)]
    return (
        nn.Sequential(nn.Linear(8, 8), *blocks, nn.LayerNorm(8), nn.Linear(8, 3)),
        classified,
        (torch.randn(16, 8), torch.arange(16) % 3),
    )


def normed() -> Made:
    """Layers on sequences, each with its norm and tanh: what comes out of a layer is looked at
    through views.
    """
    layers = [layer for _ in range(5) for layer in (nn.Linear(8, 8), nn.LayerNorm(8), nn.Tanh())]
    return (
        nn.Sequential(*layers, nn.Linear(8, 3)),
        classified,
        (torch.randn(4, 8, 8), torch.arange(32) % 3),
    )


def batch_normed() -> Made:
    """Layers with batch norms in training mode, written over in place."""
    layers = [
        layer
        for _ in range(4)
        for layer in (nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True))
    ]
    return (
        nn.Sequential(*layers, nn.Linear(8, 3)),
        classified,
        (torch.randn(16, 8), torch.arange(16) % 3),
    )


MODELS: dict[str, Callable[[], Made]] = {
    "gpt2": gpt2,
    "gpt2 with dropout": lambda: gpt2(0.2),
    "gpt2 with eager attention": lambda: gpt2(attention="eager"),
    "bert": bert,
    "bert with dropout": lambda: bert(0.2),
    "vit": vit,
    "llama": llama,
    "autoencoder": autoencoder,
    "resnet": resnet,
    "mlp": mlp,
    "mlp with dropout": lambda: mlp(0.3),
    "normed": normed,
    "batch_normed": batch_normed,
}


@cache
def traced(name: str) -> tuple[Program, Made]:
    """The program of a model's step, traced once, and the model."""
    torch.manual_seed(0)
    made = MODELS[name]()
    model, loss_of, args = made
    return from_pytorch(training_step(model, loss_of), *args, model=model), made
