"""The sweep of translations: it resumes, notices what no longer passes, and stores what its page needs."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.translate import sweep as sweeping
from benchmarks.translate.catalog import ROOT, SETS, catalog, name_of
from benchmarks.translate.lines import class_lines, code_lines

STORED = ROOT / "docs" / "translate" / "coverage.json"


def _result(model: str, verdict: str = "same function") -> dict[str, object]:
    plain = dict.fromkeys(sweeping.FIELDS)
    return plain | {"set": "own", "model": model, "verdict": verdict, "reasons": []}


def test_a_sweep_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    entries = [{"set": "own", "model": name} for name in ("vae", "unet", "seq2seq")]
    ran: list[str] = []

    def run(entry: dict[str, str]) -> dict[str, object]:
        if entry["model"] == "seq2seq" and len(ran) == 2:
            ran.append("stopped")
            raise KeyboardInterrupt
        ran.append(entry["model"])
        return _result(entry["model"])

    with pytest.raises(KeyboardInterrupt):
        sweeping.sweep(entries, tmp_path / "running.jsonl", run, lambda text: None)
    results = sweeping.sweep(entries, tmp_path / "running.jsonl", run, lambda text: None)
    assert ran == ["vae", "unet", "stopped", "seq2seq"]
    assert [item["model"] for item in results] == ["vae", "unet", "seq2seq"]


def test_a_model_that_passed_and_no_longer_does_is_named() -> None:
    before = {"models": [_result("vae"), _result("unet", "refused")]}
    results = [_result("vae", "not run"), _result("unet", "refused"), _result("seq2seq", "refused")]
    assert sweeping.lost(before, results) == ["own/vae"]
    assert sweeping.faults([*results, _result("generator", "different function")]) == ["own/generator"]


def test_new_results_take_the_place_of_old_ones(tmp_path: Path) -> None:
    path = tmp_path / "coverage.json"
    sweeping.write(path, sweeping.merged(sweeping.read(path), [_result("vae", "refused"), _result("unet")]))
    sweeping.write(path, sweeping.merged(sweeping.read(path), [_result("vae")]))
    models = json.loads(path.read_text(encoding="utf-8"))["models"]
    assert [(item["model"], item["verdict"]) for item in models] == [
        ("unet", "same function"),
        ("vae", "same function"),
    ]


def test_a_model_beyond_its_time_is_not_run_and_a_crash_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended:
        def __init__(self, returncode: int, stderr: str = "", stdout: str = "") -> None:
            self.returncode, self.stderr, self.stdout = returncode, stderr, stdout

    def verdict(ended: Ended) -> tuple[str, str]:
        monkeypatch.setattr(sweeping.subprocess, "run", lambda *args, **kwargs: ended)
        result = sweeping.run_model({"set": "own", "model": "vae"}, write_only=False)
        assert set(result) == set(sweeping.FIELDS)
        return result["verdict"], result["reasons"][0]

    assert verdict(Ended(-24)) == ("not run", "more than 600 seconds of CPU time")
    assert verdict(Ended(1, "MemoryError")) == ("not run", "more than 16 GiB of memory")
    assert verdict(Ended(-9)) == ("not run", "the memory of the machine ran out")
    assert verdict(Ended(-11, "segmentation"))[0] == "fault"
    for made, text in (("refused", "it does not run in float64: {}"), ("fault", "RuntimeError: {}")):
        reason = text.format("DefaultCPUAllocator: can't allocate memory: you tried to allocate 143327232 bytes")
        result = json.dumps({"set": "own", "model": "vae", "verdict": made, "reasons": [reason]})
        assert verdict(Ended(0, stdout=result)) == ("not run", "more than 16 GiB of memory")


def test_the_catalog_has_every_set_and_names_models_by_it() -> None:
    assert {item["set"] for item in catalog()} == set(SETS)
    assert [name_of(item) for item in catalog(names=["timm/resnet18"])] == ["timm/resnet18"]
    assert len(catalog(names=["resnet18"])) == 2
    with pytest.raises(ValueError, match="resnet19"):
        catalog(names=["resnet19"])


def test_the_catalog_has_peoples_own_models() -> None:
    text = (ROOT / "tests" / "own_models.py").read_text(encoding="utf-8")
    assert all(f'    "{item["model"]}": OwnModel(' in text for item in catalog(["own"]))


def test_lines_of_code_leave_out_blanks_comments_and_docstrings() -> None:
    source = 'class A:\n    """Text\n    of two lines."""\n\n    # why\n    x = (\n        1,\n    )\n'
    assert code_lines(source) == 4
    assert class_lines(f"import math\n\nTABLE = 3\n\n\n@final\n{source}\n\n{source}x = 1\n") == 9


def test_the_stored_table_has_the_fields_and_verdicts_of_the_page() -> None:
    models = json.loads(STORED.read_text(encoding="utf-8"))["models"]
    known = {name_of(item) for item in catalog()}
    for item in models:
        assert tuple(item) == sweeping.FIELDS
        assert name_of(item) in known
        assert item["verdict"] in ("same function", "refused", "not run")
        assert bool(item["reasons"]) == (item["verdict"] != "same function")
        assert (item["lines"] is not None) == (item["verdict"] == "same function")
        assert all(reason[0] != "/" for reason in item["reasons"])


def _hook(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "hooks" / f"{name}.py")
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    return hook


def test_the_page_shows_every_stored_model() -> None:
    page = _hook("translation_page")
    results = {
        "versions": {"torch": "2"},
        "models": [_result("vae"), _result("unet", "refused") | {"reasons": ["a|b"]}],
    }
    text = page.sets(results)
    assert "| vae | same function |" in text
    assert "a\\|b" in text
    assert "| own | 12 | 1 | 1 | 0 | 10 |" in page.summary(results)


def test_the_page_of_examples_shows_every_golden_file_beside_its_original() -> None:
    page = _hook("translation_examples")
    originals = page.classes_of(page.ORIGINALS)
    files = sorted(page.GOLDEN.glob("*.py"))
    assert len(files) == 12
    text = page.examples()
    for path in files:
        twin = page.classes_of(path)
        names = page.stands_for(path)
        assert names, path.name
        assert len(names) <= len(twin)
        assert f"## {list(twin)[-1]}\n" in text
        for code in (*(originals[name] for name in names), *twin.values()):
            assert page._indented(code) in text
            assert '"""' not in code
