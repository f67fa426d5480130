"""Training: repeatable, able to go on from where it was killed, and what is said of requests that make no sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dynamics.carry_out import CHECKPOINTS, carry_out
from dynamics.errors import DynamicsError, UsageError
from dynamics.recipe import Recipe, read_recipe
from dynamics.training import train_recipe
from dynamics.training.loop import generator, seeded

ROOT = Path(__file__).resolve().parents[1]


def small(**changes: Any) -> Recipe:
    """Modular addition with p = 5 on a network of a few hundred weights."""
    train = {"task": "modular_addition", "steps": 12, "checkpoints": "log:4, every:5",
             "model": {"d_model": 8, "n_heads": 2, "d_mlp": 8}} | changes  # fmt: skip
    return Recipe(name="small", metrics=("train_loss", "test_loss"), train=train,
                  tasks={"modular_addition": {"p": 5, "train_share": 0.5}})  # fmt: skip


def weights(folder: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(folder / f"step{step}" / "model.safetensors")


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


class Killed(BaseException):
    """As Ctrl-C or a lost machine: nothing gets to clean up."""


def kill_at(step: int) -> Any:
    def on_step(_: str, done: int, __: int) -> None:
        if done == step:
            raise Killed

    return on_step


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd", "muon"])
@pytest.mark.parametrize("killed_at", [1, 7, 12])
def test_a_killed_training_goes_on_to_the_same_weights_and_losses(tmp_path: Path, kind: str, killed_at: int) -> None:
    recipe = small(optimizer={"kind": kind, "learning_rate": 0.01, "weight_decay": 0.1, "warm_up_steps": 3,
                              "momentum": 0.5})  # fmt: skip
    whole = train_recipe(recipe, tmp_path / "whole")["small-seed0"]
    with pytest.raises(Killed):
        train_recipe(recipe, tmp_path / "killed", on_step=kill_at(killed_at))
    resumed = train_recipe(recipe, tmp_path / "killed")["small-seed0"]
    assert same(weights(whole, 12), weights(resumed, 12))
    assert (whole / "losses.csv").read_text() == (resumed / "losses.csv").read_text()
    assert sorted(path.name for path in whole.iterdir()) == sorted(path.name for path in resumed.iterdir())


def test_the_steps_asked_for_are_kept_and_the_loss_of_every_step(tmp_path: Path) -> None:
    folder = train_recipe(small(), tmp_path)["small-seed0"]
    kept = {int(path.name.removeprefix("step")) for path in folder.glob("step*")}
    assert kept == {0, 1, 5, 10, 12}  # 0, 1, 5, 12 are even on a log axis
    lines = (folder / "losses.csv").read_text().splitlines()
    assert lines[0] == "step,loss"
    assert [int(line.split(",")[0]) for line in lines[1:]] == list(range(12))
    assert float(lines[-1].split(",")[1]) < float(lines[1].split(",")[1])


def test_a_whole_training_is_left_as_it_is(tmp_path: Path) -> None:
    train_recipe(small(), tmp_path)
    train_recipe(small(), tmp_path, on_step=kill_at(1))  # not a step is done again


def test_seeds_are_histories_of_their_own_in_one_store(tmp_path: Path) -> None:
    made = train_recipe(small(), tmp_path / CHECKPOINTS, seeds=(0, 10, 2))
    assert list(made) == ["small-seed0", "small-seed10", "small-seed2"]
    assert not same(weights(made["small-seed0"], 12), weights(made["small-seed2"], 12))
    run = carry_out(small(), out=tmp_path)
    series = run.query("SELECT series, seed FROM series ORDER BY seed").rows()
    assert series == [("small-seed0", 0), ("small-seed2", 2), ("small-seed10", 10)]
    steps = run.measurements().filter(metric="train_loss", series="small-seed2")["step"]
    assert sorted(steps) == [0, 1, 5, 10, 12]


def test_the_stored_loss_is_the_one_that_was_trained_on(tmp_path: Path) -> None:
    folder = train_recipe(small(), tmp_path / CHECKPOINTS)["small-seed0"]
    measured = carry_out(small(), out=tmp_path).measurements().filter(metric="train_loss")
    logged = dict(line.split(",") for line in (folder / "losses.csv").read_text().splitlines()[1:])
    for step, value in measured.select("step", "value").rows():
        if step < 12:
            assert float(logged[str(step)]) == pytest.approx(value, rel=1e-6)


def test_training_leaves_the_global_random_numbers_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    train_recipe(small(steps=2), tmp_path)
    assert torch.equal(before, torch.get_rng_state())


def test_streams_of_different_numbers_differ() -> None:
    drawn = {tuple(torch.rand(4, generator=generator(seed, step)).tolist()) for seed in (0, 1) for step in range(20)}
    assert len(drawn) == 40
    with seeded(3):
        first = torch.rand(2)
    with seeded(3):
        assert torch.equal(first, torch.rand(2))


def test_a_folder_of_another_training_is_refused(tmp_path: Path) -> None:
    train_recipe(small(), tmp_path)
    with pytest.raises(UsageError, match=r"holds a training with steps = 12, and 20 is asked for; choose another"):
        train_recipe(small(steps=20), tmp_path)
    (tmp_path / "small-seed0" / "training.json").unlink()
    with pytest.raises(UsageError, match=r"no training.json that says how they were trained"):
        train_recipe(small(), tmp_path)


def test_a_loss_that_runs_away_is_an_error_and_not_a_history(tmp_path: Path) -> None:
    with pytest.raises(DynamicsError, match=r"the loss is .* at step \d+; expected a finite number"):
        train_recipe(small(optimizer={"kind": "sgd", "learning_rate": 1e6}), tmp_path)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (small().model_copy(update={"train": None}), r"has no \[train\] table"),
        (small(task="modular_adition"), "did you mean 'modular_addition'"),
        (small(model={"d_modle": 8}), r"'train.model.d_modle'.*a model for 'modular_addition' has d_model"),
        (small(model={"d_model": 9, "n_heads": 2}), "d_model = 9 is not a multiple of n_heads = 2"),
        (small().model_copy(update={"tasks": {}}), r"set 'p' in \[tasks.modular_addition\]"),
        (small(checkpoints="often"), "cannot read steps 'often'"),
    ],
)
def test_requests_that_make_no_sense_are_refused(tmp_path: Path, recipe: Recipe, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train_recipe(recipe, tmp_path)
    assert not list(tmp_path.rglob("step*"))


def test_measuring_before_training_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"trains its own models, and .* has none of them yet; run 'dynamics train'"):
        carry_out(small(), out=tmp_path)


def test_the_command_trains_and_wrong_seeds_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dynamics import cli

    path = tmp_path / "small.toml"
    path.write_text(
        'name = "small"\nmetrics = ["train_loss"]\n[tasks.modular_addition]\np = 5\n[train]\n'
        'task = "modular_addition"\nsteps = 3\nmodel = {d_model = 8, n_heads = 2, d_mlp = 8}\n'
    )
    monkeypatch.setattr("sys.argv", ["dynamics", "train", str(path), "--out", str(tmp_path / "o"), "--seeds", "1, 2"])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    made = capsys.readouterr().out.split()
    assert made == [str(tmp_path / "o" / "checkpoints" / f"small-seed{seed}") for seed in (1, 2)]
    monkeypatch.setattr("sys.argv", ["dynamics", "train", str(path), "--seeds", "one"])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert "expected whole numbers" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted((ROOT / "runs").glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_that_trains_can_start(path: Path, tmp_path: Path) -> None:
    recipe = read_recipe(path)
    if recipe.train is not None:
        with pytest.raises(Killed):
            train_recipe(recipe, tmp_path, on_step=kill_at(1))
