"""Events of frames: the columns, the false-discovery rate, and what belongs together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from dynamics import events as ev

STEPS = np.unique(np.round(np.logspace(0, 5, 60))).astype(int)
X = np.log10(STEPS + 1)


def rise(middle, width=0.3):
    return 1 / (1 + np.exp(-(X - middle) * 2 * np.log(9) / width))


def measured(series, metric, value, *, head=None, sigma=0.02, seed=0, steps=STEPS):
    noise = np.random.default_rng(seed).normal(0, sigma, len(steps))
    return pl.DataFrame(
        {"series": series, "step": steps, "metric": metric, "value": value + noise, "stderr": sigma, "head": head},
        schema_overrides={"head": pl.Int64},
    )


@pytest.fixture(scope="module")
def seeds():
    """Three seeds of a model whose heads 0 and 1 match prefixes at step 1000, the in-context score falling after."""
    parts = []
    for k in range(3):
        name = f"seed{k}"
        for head in range(4):
            curve = 0.8 * rise(3.0) if head < 2 else 0 * X
            parts.append(measured(name, "prefix_matching", curve, head=head, seed=10 * k + head))
        parts.append(measured(name, "in_context_learning_score", -0.4 * rise(3.15), seed=10 * k + 8))
        parts.append(
            measured(name, "loss", 6 * 10 ** (-0.15 * X) + 0.4 * np.exp(-(((X - 3.0) / 0.15) ** 2)), seed=10 * k + 9)
        )
    return pl.concat(parts)


@pytest.fixture(scope="module")
def found(seeds):
    return ev.detect(seeds)


def test_columns_are_the_designs_in_order_and_typed_even_when_empty(seeds, found):
    columns = list(ev.EVENT_COLUMNS) + list(ev.EXTRA_COLUMNS)
    assert columns[:18] == [
        "series", "metric", "layer", "head", "index", "label", "kind", "direction", "onset", "midpoint", "completion",
        "lower", "upper", "before", "after", "magnitude", "sharpness", "p_value",
    ]  # fmt: skip
    assert found.columns == columns
    assert ev.detect(seeds.clear()).schema == found.schema == ev.no_events().schema
    assert ev.detect(seeds.select("series", "step", "metric", "value").head(5)).is_empty()


def test_only_the_heads_that_change_have_an_event(found):
    heads = found.filter(pl.col("metric") == "prefix_matching")
    assert heads.group_by("series").agg(pl.col("head").sort()).sort("series")["head"].to_list() == [[0, 1]] * 3
    assert set(heads["kind"]) == {"transition"}
    assert heads.filter((pl.col("lower") > 999) | (pl.col("upper") < 999)).is_empty()
    assert (heads["q_value"] >= heads["p_value"]).all()


def test_false_discoveries_stay_rare_among_many_heads():
    null = [measured("s", "m", 0 * X, head=h, seed=h) for h in range(60)]
    true = [measured("s", "m", rise(3.5), head=100 + h, seed=100 + h, sigma=0.1) for h in range(6)]
    heads = ev.detect(pl.concat(null + true))["head"].to_list()
    assert set(range(100, 106)) <= set(heads)
    assert sum(h < 100 for h in heads) <= 1


def test_min_size_bounds_and_fdr(seeds):
    assert ev.detect(seeds, min_size=10.0).is_empty()
    bounds = pl.DataFrame({"metric": ["prefix_matching"], "lower": [0.0], "upper": [1.0], "unit": ["share"]})
    kept = ev.detect(seeds, metrics=bounds).filter(pl.col("metric") == "prefix_matching")
    assert kept["before"].min() >= 0
    assert kept["after"].max() <= 1
    with pytest.raises(ValueError, match="fdr is 0: expected a share"):
        ev.detect(seeds, fdr=0)
    with pytest.raises(ValueError, match="no column value"):
        ev.detect(seeds.drop("value"))


def test_stages_are_continued_by_tokens():
    first = measured("s", "m", 0 * X[:40], steps=STEPS[:40]).with_columns(stage=pl.lit("one"))
    second_steps = np.arange(1, 31) * 200
    second = measured("s", "m", np.where(second_steps > 2000, 1.0, 0.0), steps=second_steps).with_columns(
        stage=pl.lit("two")
    )
    both = pl.concat([first, second]).with_columns(
        tokens_seen=pl.when(pl.col("stage") == "one")
        .then(pl.col("step") * 10)
        .otherwise((pl.col("step") + STEPS[39]) * 10)
    )
    (event,) = ev.detect(both).to_dicts()
    assert event["lower"] <= STEPS[39] + 2200
    assert event["upper"] >= STEPS[39] + 2000
    assert "through all stages" in event["note"]


def test_induction_heads_form_and_each_part_is_named(seeds, found):
    parts = ev.apply_rules(found, seeds).filter(pl.col("rule") == "induction heads form")
    by_name = {r["part"]: r for r in parts.filter(pl.col("series") == "seed0").to_dicts()}
    assert by_name["a head matches prefixes"]["n_events"] == 2
    assert by_name["in-context score falls"]["status"] == "found"
    assert by_name["bump in the loss"]["status"] == "found"
    assert by_name["heads attend to the previous token first"]["status"] == "not measured"
    assert parts["found"].all()
    control = seeds.filter(pl.col("head").is_null() | (pl.col("head") > 1))
    assert not ev.apply_rules(ev.detect(control), control)["found"].any()


def test_grokking_needs_the_test_set_to_follow():
    frame = pl.concat([measured("s", "train_loss", 1 - rise(2.5)), measured("s", "test_loss", 1 - rise(4.0), seed=1)])
    read = ev.apply_rules(ev.detect(frame), frame).filter(pl.col("rule") == "grokking")
    assert read["found"].all()
    assert read.filter(pl.col("part") == "the test set follows later")["lag"][0] == pytest.approx(1.5, abs=0.1)
    together = pl.concat([measured("s", "train_loss", 1 - rise(3)), measured("s", "test_loss", 1 - rise(3), seed=1)])
    assert not ev.apply_rules(ev.detect(together), together).filter(pl.col("rule") == "grokking")["found"].any()


def test_a_training_loss_that_fell_before_the_second_checkpoint_still_counts():
    fitted = measured("s", "train_loss", np.where(STEPS[0] == STEPS, 1.0, 0.0), sigma=0.001)
    frame = pl.concat([fitted, measured("s", "test_loss", 1 - rise(4.0), seed=1)])
    read = ev.apply_rules(ev.detect(frame), frame).filter(pl.col("rule") == "grokking")
    assert read["kind"].to_list()[:2] == ["first gap", "transition"]
    assert read["found"].all()


def test_a_person_can_add_a_rule_and_mistakes_are_named(tmp_path, seeds, found):
    own = tmp_path / "mine.toml"
    own.write_text('[[rule]]\nname = "mine"\n[[rule.part]]\nname = "any"\nmetric = "loss"\n')
    assert ev.apply_rules(found, seeds, ev.load_rules(own))["found"].all()
    own.write_text('[[rule]]\nname = "mine"\n[[rule.part]]\nname = "any"\nmetrik = "loss"\n')
    with pytest.raises(ValueError, match=r"rule 'mine': part 'any' has \['metrik'\]"):
        ev.load_rules(own)
    own.write_text('[[rule]]\nname = "mine"\n[[rule.part]]\nname = "a"\nmetric = "loss"\nafter = "b"\n')
    with pytest.raises(ValueError, match="which is no earlier part"):
        ev.load_rules(own)


def test_a_part_can_ask_for_one_label_of_a_metric():
    frame = pl.concat([
        measured("s", "bigram_score", 5 - rise(1.5)),
        measured("s", "ngram_score", 1 + rise(0.7), seed=1).with_columns(label=pl.lit("bigram")),
        measured("s", "ngram_score", 1 + rise(3.0), seed=2).with_columns(label=pl.lit("trigram")),
    ], how="diagonal_relaxed")  # fmt: skip
    read = ev.apply_rules(ev.detect(frame), frame).filter(pl.col("rule") == "stages of a language model")
    assert read["found"].all()
    assert read["status"].to_list() == ["found", "found", "not measured", "not measured"]
    assert read["midpoint"][1] == pytest.approx(1000, rel=0.3)
    alone = frame.filter(pl.col("label").is_null() | (pl.col("label") == "bigram"))
    assert not ev.apply_rules(ev.detect(alone), alone)["found"].any()


def test_order_is_claimed_only_outside_the_intervals():
    early, late = {"midpoint": 100, "lower": 90, "upper": 110}, {"midpoint": 1000, "lower": 900, "upper": 1100}
    decades, low, high, said = ev.lag(early, late)
    assert decades == pytest.approx(np.log10(1001 / 101))
    assert low < decades < high
    assert said == "before"
    assert ev.lag(late, early)[3] == "after"
    assert ev.lag(early, {"midpoint": 105, "lower": 95, "upper": 120})[3] == "undecided"
    assert ev.lag(early, late, gap=2.0)[3] == "undecided"


def test_events_in_one_window_co_occur_and_scattered_ones_do_not():
    def table(places):
        rows = [{**dict.fromkeys(ev.no_events().columns), "series": "s", "metric": f"m{k}", "kind": "transition",
                 "midpoint": p, "lower": p * 0.9, "upper": p * 1.1} for k, p in enumerate(places)]  # fmt: skip
        return pl.DataFrame(rows, schema=ev.no_events().schema)

    frame = pl.DataFrame({"series": "s", "step": STEPS})
    (cluster,) = ev.co_occurring(table([1000.0, 1010, 1020, 990, 1005, 40, 20000]), frame).to_dicts()
    assert cluster["n_curves"] == 5
    assert cluster["members"] == ["m0", "m1", "m2", "m3", "m4"]
    assert ev.co_occurring(table([10.0, 60, 300, 1500, 8000, 40000]), frame).is_empty()


def test_seeds_agree_or_are_called_dependent(seeds, found):
    score = ev.consensus(found, seeds).filter(pl.col("metric") == "in_context_learning_score").to_dicts()[0]
    assert (score["n_with"], score["n_series"], score["verdict"]) == (3, 3, "agree")
    assert score["lower"] <= 10**3.15 - 1 <= score["upper"]
    scattered = pl.concat([measured(f"s{k}", "m", rise(m), seed=k) for k, m in enumerate((1.5, 3.0, 4.3))])
    (row,) = ev.consensus(ev.detect(scattered), scattered).to_dicts()
    assert (row["verdict"], row["step"]) == ("seed-dependent", None)
    heads = ev.over_heads(found).filter(pl.col("metric") == "prefix_matching")
    assert (len(heads), heads["head"].null_count()) == (3, 3)


def test_an_event_of_the_threshold_alone_is_called_so():
    smooth = 0.2 + 0.15 * X
    sharp = rise(4.0, 0.3)
    frame = pl.concat([measured("s", "exact_match", sharp), measured("s", "probability", smooth, seed=1)])
    (row,) = ev.mirage_check(ev.detect(frame), frame, {"exact_match": "probability"}).to_dicts()
    assert row["verdict"] == "metric only"
    frame = pl.concat([measured("s", "exact_match", sharp), measured("s", "probability", sharp / 2, seed=1)])
    assert ev.mirage_check(ev.detect(frame), frame, {"exact_match": "probability"})["verdict"].to_list() == ["survives"]


def test_places_on_another_axis(seeds, found):
    frame = seeds.with_columns(tokens_seen=pl.col("step") * 1000)
    at = ev.on_axis(found, frame, "tokens_seen")
    assert np.allclose(at["at_tokens_seen"] / (at["midpoint"] * 1000), 1, atol=0.02)
    with pytest.raises(ValueError, match="no series has 'perplexity'"):
        ev.on_axis(found, frame, "perplexity")


def test_sizes_that_rise_at_one_loss_agree_on_that_axis():
    parts = []
    for k, delay in enumerate((0.0, 0.5, 1.0)):  # a larger model comes to the same loss sooner, and rises at that loss
        loss = 8 - X + delay
        parts += [
            measured(f"size{k}", "loss", loss, seed=k),
            measured(f"size{k}", "skill", rise(2.0 + delay), seed=9 + k),
        ]
    frame = pl.concat(parts).with_columns(tokens_seen=pl.col("step") * 1000)
    across = ev.across_sizes(ev.detect(frame), frame).filter(pl.col("metric") == "skill")
    assert across.columns == list(ev.SIZES_COLUMNS)
    assert across["axis"].to_list()[0] == "loss"
    place = {row["axis"]: row for row in across.to_dicts()}
    assert place["loss"]["median"] == pytest.approx(6.0, abs=0.1)
    assert place["loss"]["spread"] < 0.05 < place["step"]["spread"]
    assert place["tokens_seen"]["highest"] / place["tokens_seen"]["lowest"] == pytest.approx(10, rel=0.1)
    assert ev.across_sizes(ev.no_events(), frame).is_empty()
    assert set(ev.across_sizes(ev.detect(frame), frame.drop("tokens_seen"))["axis"]) == {"step", "loss"}


def test_indices_have_their_published_values():
    frame = pl.DataFrame({"series": "s", "step": [0, 1, 3, 7, 15], "metric": "m", "value": [0.0, 1, 2, 3, 4]})
    row = ev.indices(frame).to_dicts()[0]
    assert (row["improvement"], row["breakthroughness"], row["linearity"]) == (4.0, 4.0, 4.0)
    assert row["sudden_drop_share"] == 0.25
    jump = ev.indices(measured("s", "m", rise(3.0), sigma=0.0)).to_dicts()[0]
    assert jump["sigmoid_midpoint"] == pytest.approx(999, rel=0.01)
    assert jump["sigmoid_width"] == pytest.approx(0.3, rel=0.01)
    flat = ev.indices(frame.with_columns(value=pl.lit(1.0))).to_dicts()[0]
    assert np.isnan(
        [flat["breakthroughness"], flat["linearity"], flat["steepest_step"], flat["sudden_drop_share"]]
    ).all()


def test_gradual_change_is_described():
    frame = measured("s", "m", 2 - 0.3 * X)
    (row,) = ev.describe(frame).to_dicts()
    assert row["n_events"] == 0
    assert row["rate"] == pytest.approx(-0.3, abs=0.02)
    assert row["total"] == pytest.approx(-0.3 * (X[-1] - X[0]), abs=0.1)
    assert row["noise"] == pytest.approx(0.02, rel=0.4)


def test_events_load_without_torch():
    heavy = ("torch", "transformers", "altair", "metrics")
    code = f"import sys, dynamics.events; print([m for m in {heavy} if m in sys.modules])"
    root = Path(__file__).resolve().parents[1]
    said = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
