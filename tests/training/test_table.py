from __future__ import annotations

from typing import Any

from vidface.training.table import markdown, stage_table


def stage(name: str, accuracy: float, tpr: float | None, *, test: bool, lfw: bool) -> dict[str, Any]:
    validation: dict[str, Any] = {"lfw": {"accuracy": 0.99, "accuracy_std": 0.01}} if lfw else {}
    validation["people"] = {"accuracy": accuracy, "accuracy_std": 0.0123, "tpr": tpr}
    found = {"stage": name, "epochs": 12, "best_epoch": 7, "images_seen": 1234567, "validation": validation}
    return {**found, "test": {"accuracy": 0.5, "accuracy_std": 0.25, "tpr": 0.125}} if test else found


def found(*, test: bool = True, lfw: bool = False, choose: str = "tpr") -> dict[str, Any]:
    return {
        "stages": [
            stage("arcface", 0.9, None, test=test, lfw=lfw),
            stage("pk4", 0.98765, 0.25, test=test, lfw=lfw),
        ],
        "best_stage": "pk4",
        "fpr_target": "1e-3",
        "choose": choose,
        "model": "out/model.safetensors",
        "people": {"training": {"people": 3, "images": 40}, "cut": {"people": 1, "images": 2}},
    }


def cells(page: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("| ").split("|")] for line in page.splitlines() if "|" in line
    ]


def test_a_row_a_stage() -> None:
    header, line, first, second = cells(markdown(found()))
    assert header[:4] == ["stage", "epochs", "best", "images seen"]
    assert header[4:] == [
        f"{name} {what}" for name in ("validation", "test") for what in ("accuracy", "TPR@FPR=1e-3")
    ]
    assert set(line) == {"---"}
    same = ["12", "7", "1,234,567"]
    assert first == ["arcface", *same, "0.9000 ± 0.0123", "not measured", "0.5000 ± 0.2500", "0.1250"]
    assert second == ["pk4*", *same, "0.9877 ± 0.0123", "0.2500", "0.5000 ± 0.2500", "0.1250"]


def test_other_sets_have_an_accuracy_alone() -> None:
    header, _, first, _ = cells(markdown(found(test=False, lfw=True)))
    assert header[4:] == ["lfw accuracy", "validation accuracy", "validation TPR@FPR=1e-3"]
    assert first[4:] == ["0.9900 ± 0.0100", "0.9000 ± 0.0123", "not measured"]


def test_what_is_said_below() -> None:
    page = markdown(found())
    assert "training: 3 people, 40 images; cut: 1 people, 2 images" in page
    assert "The star marks the best stage by validation TPR at FPR 1e-3." in page
    assert "by validation accuracy." in markdown(found(choose="accuracy"))
    assert "by accuracy on lfw." in markdown(found(lfw=True, choose="lfw"))


def test_as_text() -> None:
    lines = stage_table(found()).splitlines()
    assert lines[-1] == "* the best by validation TPR at FPR 1e-3: out/model.safetensors"
    assert [line.split()[0] for line in lines[:-2]] == ["stage", "arcface", "pk4*"]
    assert lines[-2] == "FPR rule at-most: the largest TPR whose FPR is at most the target"
    assert len({len(line.rstrip()) for line in lines[1:-2]} | {len(lines[0])}) == 1, "the columns are aligned"
