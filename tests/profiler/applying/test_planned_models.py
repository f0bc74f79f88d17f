"""Models that people train stay within budgets of .8, .6 and .4 of their eager peak, bit by bit."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
import transformers
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from autodiff.errors import BudgetError
from profiler.applying.model import checkpointed
from profiler.pytorch.steps import profile_step
from tests.support.planned import chain, differing, stepped, tracked_peak
from tests.support.training_models import MODELS, gpt2

pytestmark = pytest.mark.slow

REFUSED = {("resnet", 0.4), ("unet", 0.4)}
"""Budgets below the least that a plan takes."""


@pytest.fixture(autouse=True)
def _apart() -> Iterator[None]:
    torch.manual_seed(0)
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("name", MODELS)
def test_a_model_trains_within_a_share_of_its_eager_peak(name: str) -> None:
    """As the tracker of storages and `profile_step` measure it, with the numbers of eager."""
    model, loss_of, args = MODELS[name]()
    step = stepped(*args, loss_of=loss_of)
    eager = copy.deepcopy(model)
    most = tracked_peak(copy.deepcopy(model), step, *args)
    loss = step(eager)
    met = set()
    for share in (0.8, 0.6, 0.4):
        torch._dynamo.reset()
        planned = checkpointed(copy.deepcopy(model), int(share * most), quiet=True, cache=False)
        try:
            assert step(planned) == loss
        except BudgetError:
            continue
        met.add(share)
        for one, other in zip(planned.parameters(), eager.parameters(), strict=True):
            assert (one.grad is None) == (other.grad is None)
            assert one.grad is None or torch.equal(one.grad, other.grad)
        assert differing(planned, eager) == []
        assert planned.plan.peak_bytes <= share * most
        assert tracked_peak(planned, step, *args) <= planned.plan.peak_bytes + 4
        planned.zero_grad()
        assert profile_step(step, planned, model=planned).peak_bytes <= share * most
    assert met == {share for share in (0.8, 0.6, 0.4) if (name, share) not in REFUSED}


def test_a_trainer_of_hugging_face_runs_ten_steps(tmp_path: Path) -> None:
    """Ten steps of its loop with accumulation, evaluation and saving, equal to eager's."""
    model, _, (ids,) = gpt2()
    data = [{"input_ids": row, "labels": row} for row in ids]
    losses, models = [], []
    for is_planned in (True, False):
        twin = copy.deepcopy(model)
        if is_planned:
            checkpointed(twin, max_bytes="1KiB", on_infeasible="least", quiet=True, cache=False)
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path / str(is_planned)),
            max_steps=10,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            eval_strategy="steps",
            eval_steps=5,
            save_steps=10,
            logging_steps=1,
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        trainer = transformers.Trainer(twin, arguments, train_dataset=data, eval_dataset=data)
        trainer.train()
        losses.append([row["loss"] for row in trainer.state.log_history if "loss" in row])
        models.append(twin)
    assert len(losses[0]) == 10
    assert losses[0] == losses[1]
    assert differing(*models) == []
    assert models[0].plan.by_module()["again_ops"].sum() > 0


def _train_in_a_group(rank: int, directory: str) -> None:
    """Two processes, half of the batch each; the first writes the parameters down."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{directory}/group", rank=rank, world_size=2
    )
    for is_planned in (True, False):
        torch.manual_seed(0)
        model = chain(depth=6)
        if is_planned:
            checkpointed(model, max_bytes="14kB", quiet=True, cache=False)
        group: nn.Module = DistributedDataParallel(model)
        optimizer = torch.optim.SGD(group.parameters(), lr=1e-2)
        batch = torch.randn(64, 16).chunk(2)[rank]
        for _ in range(5):
            optimizer.zero_grad()
            group(batch).backward()
            optimizer.step()
        if rank == 0:
            again = int(model.plan.by_module()["again_ops"].sum()) if is_planned else 0
            torch.save((model.state_dict(), again), f"{directory}/{is_planned}.pt")
    distributed.destroy_process_group()


def test_two_processes_train_one_model(tmp_path: Path) -> None:
    """Gradients are averaged over two gloo processes as without a plan."""
    mp.spawn(_train_in_a_group, (str(tmp_path),), nprocs=2)
    (planned, again), (eager, _) = (torch.load(tmp_path / f"{one}.pt") for one in (True, False))
    assert again > 0
    assert list(planned) == list(eager)
    assert all(torch.equal(planned[name], eager[name]) for name in eager)
