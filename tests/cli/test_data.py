"""``rsvlm data``: the registry is told, sets are prepared whole or not at all, and faults are named."""

import json

import pytest

from tests.train.published_sets import write_image, write_text
from train.data.convert import REGISTRY
from train.data.records import read_records, read_set_facts


@pytest.fixture
def prepared(run, scenes):
    """A YOLO set, prepared under a name of its own."""
    for side, stem in (("train", "a"), ("val", "b")):
        write_image(scenes / f"set/images/{side}/{stem}.jpg", (100, 50))
        write_text(scenes / f"set/labels/{side}/{stem}.txt", "0 0.5 0.5 0.1 0.2")
    write_text(scenes / "set/classes.txt", "ship")
    done = run("data", "prepare", "set", "--as", "yolo", "--name", "harbour", "--out", "prepared")
    assert done.exit_code == 0, done.stderr
    return scenes / "prepared/harbour", done


def test_the_list_names_every_set_with_its_terms(run):
    done = run("data", "list", "--json")
    told = json.loads(done.stdout)
    assert set(told) == set(REGISTRY)
    assert told["levir-cd"]["terms"] == "research only"
    assert told["levir-cd"]["archives_md5"]["val.zip"] == "f7b857978524f9aa8c3bf7f94e3047a4"
    table = run("data", "list").stdout
    assert "images/[train|val/]STEM.jpg" in " ".join(table.split())


def test_a_prepared_set_carries_its_own_name_and_terms(prepared):
    folder, done = prepared
    assert {record.source for record in read_records(folder)} == {"harbour"}
    facts = read_set_facts(folder)
    assert (facts["name"], facts["terms"], facts["records"]) == ("harbour", "your own", 2)
    row = next(line for line in done.stdout.splitlines() if "harbour" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")][:6] == ["harbour", "your own", "1", "1", "2", "2"]


def test_a_prepared_set_is_replaced_only_when_asked(run, prepared):
    again = ("data", "prepare", "set", "--as", "yolo", "--name", "harbour", "--out", "prepared", "--partial")
    done = run(*again)
    assert done.exit_code == 3
    assert "harbour is there already (--overwrite replaces it)" in done.stderr
    assert run(*again, "--overwrite").exit_code == 0
    assert {record.complete for record in read_records(prepared[0])} == {()}


def test_check_passes_a_whole_set_and_names_each_fault(run, prepared):
    folder, _ = prepared
    done = run("data", "check", "prepared")
    assert (done.exit_code, done.stdout) == (0, "harbour: 2 records are whole, terms: your own\n")
    lines = (folder / "records.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    first["objects"][0]["box_px"] = [45, 20, 155, 30]
    (folder / "records.jsonl").write_text("\n".join([json.dumps(first), lines[1].replace("val_b.jpg", "gone.jpg")]))
    done = run("data", "check", "prepared")
    assert done.exit_code == 3
    assert "2 faults" in done.stderr
    assert "the box (45, 20, 155, 30) of 'ship' is not inside 100 x 50 px" in done.stderr
    assert "gone.jpg" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("prepare", "gone", "--as", "yolo", "--out", "p"), 3, "gone: no such folder"),
        (("prepare", ".", "--as", "yulu", "--out", "p"), 2, "'yulu' is no known set or layout, wanted one of:"),
        (("prepare", ".", "--name", "x", "--out", "p"), 2, "--name names one set, so it wants --as too"),
        (("prepare", ".", "--out", "p"), 3, "holds none of the known sets"),
        (("prepare", ".", "--as", "coco", "--out", "p"), 3, "no *.json in it"),
        (("check", "."), 3, "no records.jsonl in it"),
    ],
)
def test_what_cannot_be_prepared_is_one_line(run, scenes, arguments, code, message):
    done = run("data", *arguments)
    assert (done.exit_code, done.stderr.count("\n")) == (code, 1)
    assert message in done.stderr
    assert not list(scenes.glob("p/*"))
