"""The doctor: things are taken away from it, and it must name what is missing."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import vidface
from vidface.commands import doctor
from vidface.errors import MediaError
from vidface.frames import DECODERS, Frame

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def healthy() -> dict[str, Any]:
    return doctor.examine()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Look over a machine that has other distributions: name=version adds one, name=None takes it away."""

    def look(**changes: str | None) -> list[str]:
        real = importlib.metadata.version
        named = {name.replace("_", "-"): version for name, version in changes.items()}

        def version(name: str) -> str:
            if name not in named:
                return real(name)
            found = named[name]
            if found is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return found

        monkeypatch.setattr(importlib.metadata, "version", version)
        problems: list[str] = []
        doctor._check_same_module(doctor._libraries(problems), problems)
        return problems

    return look


def test_every_required_library_is_listed_with_its_version(healthy: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in project["dependencies"]:
        name = requirement.split(">")[0]
        assert healthy["libraries"][name] == importlib.metadata.version(name)
    assert healthy["version"] == vidface.__version__


def test_what_holds_decoders_is_said(healthy: dict[str, Any]) -> None:
    """What they really may not do is tried in tests/features/engines/test_confine.py."""
    held = healthy["confined_by"]
    assert ("limits" in held) == (sys.platform == "linux")
    (line,) = (
        line for line in doctor.report_lines(healthy).splitlines() if line.startswith("decoders confined by")
    )
    assert all(name in line for name in held or ["nothing"])


def test_a_healthy_machine_reads_its_clip_with_every_decoder(healthy: dict[str, Any]) -> None:
    assert healthy["decoders"] == dict.fromkeys(DECODERS, "ok")
    assert healthy["demo_network"] == "ok"
    assert healthy["problems"] == []
    assert json.loads(json.dumps(healthy, allow_nan=False)) == healthy


def test_memory_is_the_machines_or_the_containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, unlimited = tmp_path / "limit", tmp_path / "unlimited"
    limit.write_text("123456789\n")
    unlimited.write_text("max\n")
    monkeypatch.setattr(doctor, "MEMORY_LIMITS", (unlimited, tmp_path / "missing"))
    whole = doctor._memory_bytes()
    total_kb = next(
        line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal")
    )
    assert whole == int(total_kb.split()[1]) * 1024
    monkeypatch.setattr(doctor, "MEMORY_LIMITS", (limit, unlimited))
    assert doctor._memory_bytes() == 123456789


@pytest.mark.parametrize(
    ("added", "keep", "drop"),
    [
        ("decord", "decord2", "decord"),
        ("faiss_gpu", "faiss-gpu", "faiss-cpu"),
        ("onnxruntime_gpu", "onnxruntime-gpu", "onnxruntime"),
    ],
)
def test_two_distributions_of_one_module(
    installed: Callable[..., list[str]], added: str, keep: str, drop: str
) -> None:
    (problem,) = installed(**{added: "1.0"})
    assert problem.startswith(f"{keep} and {drop} are both installed")
    assert f"pip uninstall -y {keep} {drop}" in problem
    assert problem.endswith(f"`pip install --no-deps {keep}`")


def test_the_gpu_build_may_stand_in_for_the_cpu_build(installed: Callable[..., list[str]]) -> None:
    assert installed(faiss_cpu=None, faiss_gpu="1.15.1", onnxruntime=None, onnxruntime_gpu="1.20") == []


def test_a_missing_library_is_named(installed: Callable[..., list[str]]) -> None:
    assert installed(h5py=None, faiss_cpu=None) == [
        "faiss-cpu is not installed: run `pip install faiss-cpu`",
        "h5py is not installed: run `pip install h5py`",
    ]


def test_vidface_run_from_a_folder_without_installing(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    problems: list[str] = []
    doctor._libraries(problems)
    assert problems == ["vidface itself is not installed: run `pip install -e .` in its folder"]


@pytest.mark.parametrize("name", ["torch", "onnxruntime", "faiss"])
@pytest.mark.parametrize("half", [False, True], ids=["not loaded", "half uninstalled"])
def test_a_library_that_does_not_work_is_a_problem(
    name: str, half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.import_module

    def broken(module: str) -> Any:
        if module == name and not half:
            raise OSError(f"lib{name}.so:\n cannot open")
        return SimpleNamespace() if module == name else real(module)

    monkeypatch.setattr(importlib, "import_module", broken)
    problems: list[str] = []
    assert doctor._gpu(problems)[name] is None
    (problem,) = problems
    assert problem.startswith(f"{name} does not work: ") and problem.endswith("; install it again")
    assert half or f"lib{name}.so: cannot open" in problem


@pytest.mark.parametrize("wrong", [doctor.GREYS[::-1], doctor.GREYS[:2], (*doctor.GREYS, 216), ()])
def test_a_decoder_that_gives_wrong_frames(wrong: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: Path, *, decoder: str, report: object) -> Iterator[Frame]:
        for index, grey in enumerate(wrong if decoder == "decord" else doctor.GREYS):
            yield Frame(np.full((64, 64, 3), grey, np.uint8), index / 8)

    monkeypatch.setattr("vidface.frames.read_frames", read)
    problems: list[str] = []
    assert doctor._try_decoders(problems) == {"pyav": "ok", "decord": "gives wrong frames"}
    assert len(problems) == 1
    assert problems[0].startswith("the decoder decord does not work: gives wrong frames;")


def test_a_decoder_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(path: Path, *, decoder: str, report: object) -> Iterator[Frame]:
        raise MediaError("decoder-refused", f"{decoder} says no")

    monkeypatch.setattr("vidface.frames.read_frames", refuses)
    problems: list[str] = []
    assert doctor._try_decoders(problems) == {name: f"{name} says no" for name in DECODERS}
    assert len(problems) == len(DECODERS)


def test_demo_weights_that_do_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo/weights").mkdir(parents=True)
    monkeypatch.setattr(vidface, "__file__", str(tmp_path / "__init__.py"))
    problems: list[str] = []
    assert doctor._try_demo_network(problems) == "not shipped"
    assert problems == []
    (tmp_path / "demo/weights/broken.safetensors").write_bytes(b"\x08" + bytes(7) + b"{}      ")
    assert "broken" in doctor._try_demo_network(problems)
    assert len(problems) == 1 and problems[0].startswith("the demo's network does not run: ")


def test_a_network_that_gives_nan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo/weights").mkdir(parents=True)
    (tmp_path / "demo/weights/nan.safetensors").touch()
    monkeypatch.setattr(vidface, "__file__", str(tmp_path / "__init__.py"))
    card = SimpleNamespace(input_size=(112, 112), dimension=4)

    def load(path: Path, *, device: str) -> SimpleNamespace:
        assert device == "cpu"
        return SimpleNamespace(card=card, embed=lambda images: np.full((len(images), 4), np.nan, np.float32))

    monkeypatch.setattr("vidface.backbones.load_backbone", load)
    problems: list[str] = []
    assert doctor._try_demo_network(problems) == "nan.safetensors gives no embedding of a black image"
    assert len(problems) == 1


def test_a_disk_that_is_nearly_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5 << 20))
    for part in ("_try_decoders", "_try_demo_network", "_gpu"):
        monkeypatch.setattr(
            doctor, part, lambda problems: {"torch": None, "onnxruntime": None, "faiss": None}
        )
    assert doctor.examine()["problems"] == [
        "only 0.0 GiB are free in this folder: make room, or work in another one"
    ]


def test_the_kernels_of_every_blas_are_listed(healthy: dict[str, Any]) -> None:
    kinds = healthy["blas"]
    (line,) = (line for line in doctor.report_lines(healthy).splitlines() if line.startswith("BLAS kernels"))
    assert all(f"{name} {kind}" in line for name, kind in kinds.items()) and (kinds or "not known" in line)


def test_kernels_of_faiss_that_are_others_or_wrong_are_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"numpy": "SkylakeX", "scipy": "SkylakeX", "faiss": "Prescott"}
    monkeypatch.setattr("vidface.scores.search.faiss_search.blas_kernels", lambda: kinds)
    monkeypatch.setattr("vidface.scores.search.faiss_search.faiss_is_right", lambda: False)
    found, (other, wrong) = doctor._blas()
    assert found == kinds
    assert other.startswith("faiss multiplies with kernels for Prescott, numpy with those for SkylakeX: ")
    assert wrong.startswith("faiss multiplies wrongly on this processor: vidface searches without it")
    monkeypatch.setattr("vidface.scores.search.faiss_search.faiss_is_right", lambda: True)
    monkeypatch.setattr("vidface.scores.search.faiss_search.blas_kernels", lambda: {"numpy": "SkylakeX"})
    assert doctor._blas() == ({"numpy": "SkylakeX"}, [])  # one BLAS for both, as conda has it


def test_a_gpu_that_only_torch_uses_is_a_hint() -> None:
    cpu_only = {"torch": ["A card"], "onnxruntime": ["CPUExecutionProvider"], "faiss": 0}
    assert [hint.split()[0] for hint in doctor._hints(cpu_only)] == ["onnxruntime", "faiss"]
    assert doctor._hints({**cpu_only, "torch": []}) == []
    assert doctor._hints({"torch": ["A card"], "onnxruntime": ["CUDAExecutionProvider"], "faiss": 1}) == []


def test_the_extras_are_those_of_the_project() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name in set(extras) - {"dev", "bench", "gpu"}:
        assert list(doctor.EXTRAS[name]) == [text.split(">")[0] for text in extras[name]]


def test_an_extra_that_is_missing_is_no_problem(
    installed: Callable[..., list[str]], healthy: dict[str, Any]
) -> None:
    gone = {name.replace("-", "_"): None for name in ("ray", "jinja2")}
    assert installed(**gone, matplotlib="3.9", textual_image="1.0") == []
    extras = doctor._extras()
    assert extras["ray"] == {"ray": None}
    assert extras["report"] == {"jinja2": None, "matplotlib": "3.9", "textual-image": "1.0"}
    text = doctor.report_lines({**healthy, "extras": extras, "problems": []})
    rows = dict(re.split("  +", line, maxsplit=1) for line in text.splitlines() if line.startswith("extra "))
    assert rows["extra ray"] == "not installed (pip install -e '.[ray]')"
    assert rows["extra report"] == "jinja2 missing, matplotlib 3.9, textual-image 1.0"
    assert text.endswith("no problems")


def test_another_build_of_opencv_does_as_well(
    installed: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(opencv_python_headless=None, opencv_python="4.12.0")
    assert doctor._extras()["detect"] == {"opencv-python": "4.12.0"}

    def fails(name: str) -> None:
        assert name == "cv2"
        raise ImportError("libGL.so.1: cannot open shared object file")

    monkeypatch.setattr(importlib, "import_module", fails)
    (hint,) = doctor._opencv_hints({"opencv-python": "4.12.0"})
    assert hint.startswith("opencv-python does not work: libGL.so.1: cannot open")
    assert hint.endswith("put opencv-python-headless in its place")
    assert doctor._opencv_hints({"opencv-python-headless": None}) == []


def test_the_report_is_aligned_and_ends_with_the_verdict(healthy: dict[str, Any]) -> None:
    text = doctor.report_lines({**healthy, "problems": []})
    table, verdict = text.split("\n\n")
    assert verdict == "no problems"
    values = [vidface.__version__, *(version for version in healthy["libraries"].values() if version)]
    rows = table.splitlines()
    column = rows[0].index(vidface.__version__)
    assert all(row[column - 2 : column] == "  " and row[column] != " " for row in rows)
    assert all(any(row[column:] == value for row in rows) for value in values)


def test_the_report_ends_with_the_problems(healthy: dict[str, Any]) -> None:
    missing = {"libraries": {"av": None}, "memory_bytes": None, "problems": ["av is gone", "so is torch"]}
    text = doctor.report_lines({**healthy, **missing})
    assert text.endswith("\n\nproblem: av is gone\nproblem: so is torch")
    assert "no problems" not in text
    assert any(line.split() == ["av", "missing"] for line in text.splitlines())
