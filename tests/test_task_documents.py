"""Text from files of several kinds and from data sets of the hub: pinned, read again offline, refused with a reason."""

from __future__ import annotations

import io
import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

import dynamics
from dynamics.cli import app
from dynamics.errors import UsageError
from dynamics.tasks.documents import TextSettings, read
from hub_stand_in import StandIn

REPO = "acme/words"
DOCUMENTS = ["one two three", "four five"]


def parquet(column: str = "text") -> bytes:
    content = io.BytesIO()
    pl.DataFrame({column: [*DOCUMENTS, None, ""]}).write_parquet(content)
    return content.getvalue()


def publish(hub: StandIn, **files: bytes) -> str:
    named = {name.replace("__", "/").replace("_dot_", "."): content for name, content in files.items()}
    return hub.repo(REPO).commit({"README.md": b"# Words", **named}, branch="main")


def test_a_row_of_a_table_and_a_line_of_json_are_documents(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet())
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in DOCUMENTS), "utf-8")
    for name in ("a.parquet", "a.jsonl"):
        assert read(TextSettings(path=tmp_path / name)) == (DOCUMENTS, name)


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl"])
def test_another_column_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet("body"))
    (tmp_path / "a.jsonl").write_text(json.dumps({"body": DOCUMENTS[0]}), "utf-8")
    assert read(TextSettings(path=tmp_path / name, column="body"))[0][0] == DOCUMENTS[0]
    with pytest.raises(UsageError, match=f"{name} has no column 'text' of text; it has body; set 'column'"):
        read(TextSettings(path=tmp_path / name))


def test_a_damaged_table_is_an_error_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UsageError, match=r"cannot read text '.*a\.parquet'"):
        read(TextSettings(path=tmp_path / "a.parquet"))


def test_a_data_set_is_pinned_to_its_commit_and_the_test_split_is_taken(hub: StandIn) -> None:
    commit = publish(hub, data__train_dot_parquet=b"not read", data__test_dot_parquet=parquet())
    documents, name = read(TextSettings(path=f"hf:{REPO}"))
    assert documents == DOCUMENTS
    assert name == f"hf:{REPO}@{commit}:data/test.parquet"
    assert not hub.requests("GET", "train.parquet")


def test_a_revision_and_a_file_can_be_named(hub: StandIn) -> None:
    old = publish(hub, test_dot_txt=b"old")
    publish(hub, test_dot_txt=b"new", other_dot_txt=b"other")
    assert read(TextSettings(path=f"hf:{REPO}"))[0] == ["new"]
    assert read(TextSettings(path=f"hf:{REPO}@{old}"))[0] == ["old"]
    assert read(TextSettings(path=f"hf:{REPO}@main:other.txt"))[0] == ["other"]


def test_what_was_read_once_is_read_again_offline(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(hub, test_dot_parquet=parquet())
    online = read(TextSettings(path=f"hf:{REPO}"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = len(hub.log)
    assert read(TextSettings(path=f"hf:{REPO}")) == online
    assert len(hub.log) == asked


@pytest.mark.parametrize(("place", "message"), [
    (f"hf:{REPO}@v9", "has no revision 'v9'; it has main"),
    (f"hf:{REPO}:absent.txt", "has no file 'absent.txt'; it has README.md"),
    (f"hf:{REPO}", r"has no \.txt, \.jsonl or \.parquet file"),
    ("hf:acme/absent", "cannot read text 'hf:acme/absent': acme/absent is not at"),
    ("hf:words", "'words' is not a repo of the hub"),
])  # fmt: skip
def test_what_the_hub_has_not_is_refused(hub: StandIn, place: str, message: str) -> None:
    publish(hub, picture_dot_png=b"")
    with pytest.raises(UsageError, match=message):
        read(TextSettings(path=place))


def test_the_commit_is_stored_with_the_task(hub: StandIn, tiny_series: Path, text: Path, tmp_path: Path) -> None:
    commit = publish(hub, test_dot_txt=text.read_bytes())
    command = ["measure", f"folder:{tiny_series}", "--metrics", "loss", "--out", str(tmp_path / "run")]
    assert CliRunner().invoke(app, [*command, "--text", f"hf:{REPO}"]).exit_code == 0
    settings = dynamics.Run(tmp_path / "run").query("SELECT settings FROM tasks")["settings"].item()
    assert json.loads(settings)["path"] == f"hf:{REPO}@{commit}:test.txt"
