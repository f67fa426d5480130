"""What goes wrong between a hub and us: the sweep ends right or says what is wrong, and nothing stored is lost."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

import dynamics
import dynamics.sources.hub_client as client
from conftest import tiny_model
from dynamics.audit import audit
from dynamics.errors import UsageError
from dynamics.prefetch import open_checkpoint
from dynamics.sources.hub_files import Get, RemoteFile, Shelf
from hub_series import REPO, files_of, publish
from hub_stand_in import StandIn

METRIC = "sum_of_squared_weights"
FILE = "model.safetensors"


def sweep(tmp_path: Path, **options: object) -> dynamics.Run:
    return dynamics.measure(dynamics.open_series(f"hub:{REPO}", **options), [METRIC], out=tmp_path / "out")


@pytest.mark.parametrize(
    ("method", "contains", "kind", "value"),
    [
        ("GET", "/refs", "status", 503),
        ("GET", "/refs", "close", None),
        ("GET", "/tree/", "status", 500),
        ("GET", FILE, "status", 503),
        ("GET", FILE, "status", (429, {"Retry-After": "1"})),
        ("GET", "/refs", "status", (429, {"Retry-After": "1"})),
        ("GET", FILE, "close", None),
        ("GET", FILE, "cut", 1000),
        ("GET", FILE, "flip", None),
        ("GET", FILE, "slow", 0.5),
        ("GET", FILE, "etag", "0" * 64),
        ("GET", "config.json", "flip", None),
        ("GET", "config.json", "status", 502),
    ],
)
def test_a_passing_fault_leaves_no_trace(
    hub: StandIn, tmp_path: Path, method: str, contains: str, kind: str, value: object
) -> None:
    publish(hub, (0, 1000, 2000))
    hub.fail(method, contains, kind, value)
    run = sweep(tmp_path)
    assert hub.faults[0].times == 0  # it was met
    assert run.checkpoints()["status"].to_list() == ["measured"] * 3
    for row in run.measurements().iter_rows(named=True):
        exact = sum(float(p.detach().double().pow(2).sum()) for p in tiny_model(row["step"]).parameters())
        assert row["value"] == pytest.approx(exact, rel=1e-5)
    assert not list((tmp_path / "cache").rglob("*.incomplete"))


def test_a_fault_that_stays_is_that_checkpoints_failure(hub: StandIn, tmp_path: Path) -> None:
    publish(hub, (0, 1000, 2000))
    commit = hub.repos[REPO].branches["step1000"]
    hub.fail("GET", f"{commit}/{FILE}", "status", 503, times=-1)
    run = sweep(tmp_path)
    rows = {row["step"]: row for row in run.checkpoints().iter_rows(named=True)}
    assert [rows[step]["status"] for step in (0, 1000, 2000)] == ["measured", "failed", "measured"]
    assert "the hub answered 503" in rows[1000]["note"]
    hub.faults.clear()
    assert sweep(tmp_path).checkpoints()["status"].to_list() == ["measured"] * 3


def test_a_file_that_is_damaged_on_the_hub_is_not_kept(hub: StandIn, tmp_path: Path) -> None:
    publish(hub, (0, 1000))
    commit = hub.repos[REPO].branches["step1000"]
    hub.fail("GET", f"{commit}/{FILE}", "flip", times=-1)
    run = sweep(tmp_path)
    failed = run.failed().row(0, named=True)
    assert failed["step"] == 1000
    assert "does not have the hash" in failed["note"]
    assert "downloaded 3 times" in failed["note"]
    assert run.measurements()["step"].to_list() == [0]
    assert len(hub.requests("GET", f"{commit}/{FILE}")) == 3


def test_a_hub_that_is_down_ends_the_sweep_and_keeps_what_is_stored(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub, (0, 1000, 2000))
    sweep(tmp_path, steps="0")
    series = dynamics.open_series(f"hub:{REPO}")
    hub.fail("GET", "/resolve/", "close", times=-1)
    run = dynamics.measure(series, [METRIC], out=tmp_path / "out")
    assert run.checkpoints()["status"].to_list() == ["measured", "failed", "failed"]
    assert "the connection failed" in run.failed()["note"][0]
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UsageError, match="the connection failed"):
        dynamics.open_series(f"hub:{REPO}")


def test_two_revisions_under_one_wrong_etag_are_not_mixed_up(hub: StandIn) -> None:
    publish(hub, (0, 1000))
    hub.fail("GET", FILE, "etag", "0" * 64, times=-1)
    series = dynamics.open_series(f"hub:{REPO}")
    for seed, checkpoint in zip((0, 1000), series.checkpoints, strict=True):
        opened = open_checkpoint(series, checkpoint)
        assert torch.equal(opened.weights.tensors["embed.W_E"], tiny_model(seed).embed.W_E)


def test_a_gated_repo_says_what_to_do(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(hub, (0, 1000))
    hub.repos[REPO].gated, hub.token = True, "hf_secret"
    with pytest.raises(UsageError, match="accept its terms .* HF_TOKEN"):
        dynamics.open_series(f"hub:{REPO}")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert len(dynamics.open_series(f"hub:{REPO}").checkpoints) == 2


def test_the_token_stays_with_the_hub(hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(hub, (0, 1000))
    elsewhere = StandIn()
    elsewhere.repos = hub.repos
    hub.origin = elsewhere
    monkeypatch.setenv("HF_TOKEN", "hf_secret_of_the_user")
    run = sweep(tmp_path)
    elsewhere.close()
    assert run.checkpoints()["status"].to_list() == ["measured"] * 2
    assert elsewhere.requests("GET", FILE)
    assert not any(carried for _, _, carried in elsewhere.log)
    assert all(carried for _, path, carried in hub.log if path.startswith("/api/"))
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"hf_secret_of_the_user" not in path.read_bytes(), path


def test_an_endpoint_that_is_no_address_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "huggingface.co")
    with pytest.raises(UsageError, match="HF_ENDPOINT is 'huggingface.co'; expected an address"):
        dynamics.open_series(f"hub:{REPO}")


def test_the_next_page_is_asked_of_the_hub_itself(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(hub, (0, 1000))
    for commit in hub.repos[REPO].commits.values():
        commit |= {f"extra-{n}.txt": b"" for n in range(8)}
    upstream = StandIn()
    hub.upstream = upstream
    monkeypatch.setenv("HF_TOKEN", "hf_secret_of_the_user")
    series = dynamics.open_series(f"hub:{REPO}", include_defective=True)
    opened = open_checkpoint(series, series.checkpoints[0])
    upstream.close()
    assert opened.files.tokenizer is not None  # which stands on the last page
    assert len(hub.requests("GET", "/tree/")) >= 3
    assert not upstream.log


def test_without_a_token_in_the_environment_none_is_sent(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stored-token").write_text("hf_of_somebody")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "stored-token"))
    publish(hub, (0, 1000))
    sweep(tmp_path)
    assert not any(carried for _, _, carried in hub.log)


def test_living_downloads_are_not_swept(hub: StandIn, tmp_path: Path) -> None:
    from huggingface_hub.utils import WeakFileLock

    publish(hub, (0,))
    asked = client.connect()
    blobs = tmp_path / "cache" / "models--acme--tiny" / "blobs"
    locks = tmp_path / "cache" / ".locks" / "models--acme--tiny"
    blobs.mkdir(parents=True)
    locks.mkdir(parents=True)
    for name in ("alive", "dead"):
        (blobs / f"{name}.12345678.incomplete").write_bytes(b"part")
    with WeakFileLock(locks / "alive.lock"):
        asked.sweep_orphans(REPO)
    assert [path.name for path in blobs.iterdir()] == ["alive.12345678.incomplete"]


def test_a_list_cut_short_by_a_kill_is_asked_for_again(hub: StandIn, tmp_path: Path) -> None:
    publish(hub, (0, 1000))
    dynamics.open_series(f"hub:{REPO}")
    for path in (tmp_path / "cache").rglob("files/*.json"):
        path.write_text('{"model.safe')
    assert len(dynamics.open_series(f"hub:{REPO}").checkpoints) == 2


def test_branches_that_move_are_seen_and_what_was_pinned_stays(hub: StandIn) -> None:
    publish(hub, (0, 1000))
    series = dynamics.open_series(f"hub:{REPO}")
    hub.repos[REPO].commit(files_of(77), branch="step1000")
    opened = open_checkpoint(series, series.checkpoints[1])
    assert torch.equal(opened.weights.tensors["embed.W_E"], tiny_model(1000).embed.W_E)
    moved = dynamics.open_series(f"hub:{REPO}")
    assert moved.checkpoints[1].revision != series.checkpoints[1].revision


def test_a_hub_that_asks_for_patience_beyond_reason_is_left_alone(hub: StandIn) -> None:
    publish(hub, (0, 1000))
    hub.fail("GET", "/refs", "status", (429, {"Retry-After": "300"}), times=-1)
    with pytest.raises(UsageError, match="answered 429 and asks to wait 300 s; run again after that"):
        dynamics.open_series(f"hub:{REPO}")
    assert len(hub.requests("GET", "/refs")) == 1


def test_a_file_that_was_published_damaged_says_so(hub: StandIn, tmp_path: Path) -> None:
    """To download it again would not help."""
    publish(hub, (0, 1000))
    hub.repos[REPO].commit(files_of(0) | {FILE: files_of(5)[FILE][:9000]}, branch="step500")
    failed = sweep(tmp_path).failed().row(0, named=True)
    assert failed["step"] == 500
    assert "it has the hash that is published for it, so it was published like this" in failed["note"]
    assert "download" not in failed["note"]


@pytest.mark.parametrize("token", ["hf_sec ret", "hf_sec\x01ret", "hf_secr\u00e9t"])
def test_a_token_that_cannot_be_one_is_refused_without_being_shown(
    hub: StandIn, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    publish(hub, (0, 1000))
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UsageError, match="HF_TOKEN holds a character that no token has") as caught:
        dynamics.open_series(f"hub:{REPO}")
    assert "hf_sec" not in str(caught.value)
    assert not hub.log


def test_the_login_of_a_mirror_is_not_shown(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url.replace("://", "://me:hunter2@"))
    with pytest.raises(UsageError, match="acme/absent is not at http://127") as caught:
        dynamics.open_series("hub:acme/absent")
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("HF_ENDPOINT", "me:hunter2@mirror")
    with pytest.raises(UsageError, match="HF_ENDPOINT is 'mirror'"):
        dynamics.open_series("hub:acme/absent")


def test_a_disk_that_cannot_be_written_to_is_said(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each checkpoint's own failure, and what was measured stays."""
    publish(hub, (0, 1000, 2000))
    sweep(tmp_path, steps="0")
    receive = Shelf.receive

    def full(self: Shelf, link: Path, file: RemoteFile, get: Get) -> None:
        if link.name == FILE:
            raise OSError(errno.ENOSPC, "No space left on device")
        receive(self, link, file, get)

    monkeypatch.setattr(Shelf, "receive", full)
    run = sweep(tmp_path)
    assert run.checkpoints()["status"].to_list() == ["measured", "failed", "failed"]
    assert "No space left on device; free some space, or set HF_HUB_CACHE" in run.failed()["note"][0]
    monkeypatch.setenv("HF_HUB_CACHE", "/proc/no-folder")
    with pytest.raises(UsageError, match="cannot write to /proc/no-folder"):
        dynamics.open_series(f"hub:{REPO}")


def test_files_with_names_that_no_disk_takes_are_not_listed(hub: StandIn) -> None:
    publish(hub, (0, 1000))
    for commit in hub.repos[REPO].commits.values():
        commit |= {"a\x00b.safetensors": b"x", "c\nd.json": b"y"}
    series = dynamics.open_series(f"hub:{REPO}")
    open_checkpoint(series, series.checkpoints[0])


def test_a_hub_that_does_not_answer_says_nothing_against_a_checkpoint(hub: StandIn, tmp_path: Path) -> None:
    """It fails, so that the command's exit code tells that something is missing; it is not left out as defective."""
    publish(hub, (0, 1000, 2000))
    hub.fail("GET", f"/tree/{hub.repos[REPO].branches['step1000']}", "status", 503, times=-1)
    series = dynamics.open_series(f"hub:{REPO}")
    assert not series.left_out
    assert series.notes[-1] == "the published weights of 2 checkpoints were compared, and 0 are left out"
    assert "the hub answered 503" in audit(series)["problem"][1]
    run = sweep(tmp_path)
    assert run.checkpoints()["status"].to_list() == ["measured", "failed", "measured"]


def test_with_half_of_a_series_at_hand_the_other_half_fails(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub, (0, 1000, 2000))
    sweep(tmp_path, steps="0,1000")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    run = sweep(tmp_path)
    assert run.checkpoints()["status"].to_list() == ["measured", "measured", "failed"]
    assert "HF_HUB_OFFLINE forbids" in run.failed()["note"].item()
