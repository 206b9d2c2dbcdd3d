"""From a run folder to a certified model: what is written, what loading does with it, what is left alone."""

import dataclasses
import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import BertModel

from eat.backbones.tiny import tiny_config
from eat.evaluation import evaluate_run
from eat.evaluation.certify import store
from eat.evaluation.certify.certificate import make_certificate
from eat.evaluation.certify.settings import CertifySettings
from eat.evaluation.certify.store import BEGIN, END, new_card, with_section
from eat.evaluation.report.certificate import certificate_section, outcome
from eat.exits.points import OperatingPoint
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.granted import with_digest
from eat.monitoring import DriftGuard
from eat.runs.finished import FinishedRun
from tests.made.models import EXIT
from tests.made.runs import write_run
from tests.made.traces import as_runs, make_run

# Ten examples certify little: with the losses of a random model at most 4 of them may be lost.
BUDGET = {"max_drop": 0.6, "confidence": 0.8}


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eat.evaluation.report.section.draw", lambda *_: None)


def certify(folder: Path, **more: Any) -> dict[str, Any]:
    evaluate_run(folder, stages=["certify"], certify=BUDGET | more)
    result: dict[str, Any] = json.loads((folder / "report" / "certificate.json").read_text())
    return result


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_saved_model_runs_at_the_certified_point(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = files(run / "model")
    certificate = certify(run)["certificate"]
    config = json.loads((run / "model" / "config.json").read_text())
    assert config["certificate"] == with_digest(certificate) and config["exit"] == certificate["exit"] != EXIT
    assert config | {"exit": EXIT, "certificate": None} == json.loads(before["config.json"]) | {"certificate": None}
    assert {name for name, text in files(run / "model").items() if before.get(name) != text} == {
        *("config.json", "README.md")
    }
    model = AdaptiveForSequenceClassification.from_pretrained(run / "model")
    assert model.config.certificate == with_digest(certificate)
    assert model.config.exit == certificate["exit"] and model.exit_criterion.active
    assert "no longer holds" not in caplog.text
    assert DriftGuard(model).report()["default"]["exit"] == certificate["exit"]


def test_an_edited_certificate_is_refused_and_certifying_again_mends_it(run: Path) -> None:
    certify(run)
    before, path = files(run / "model"), run / "model" / "config.json"
    config = json.loads(path.read_text())
    config["certificate"]["bound"] /= 10
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"config\.certificate: it was edited after it was granted"):
        FinishedRun(run).load_model("cpu")
    certify(run)
    assert files(run / "model") == before


def test_certifying_again_changes_nothing(run: Path) -> None:
    certify(run)
    once = files(run / "model") | files(run / "report")
    certify(run)
    assert files(run / "model") | files(run / "report") == once


def reported(folder: Path) -> dict[str, Any]:
    point: dict[str, Any] = json.loads((folder / "operating_point.json").read_text())
    return point


def test_the_configured_point_and_the_traces_stay(run: Path) -> None:
    traces, fingerprint = files(run / "trace"), FinishedRun(run).fingerprint()
    certify(run)
    assert FinishedRun(run).exit == OperatingPoint.of(EXIT)
    assert FinishedRun(run).fingerprint() == fingerprint
    report = evaluate_run(run, stages=["quality"])
    assert report.folder == run / "report" and files(run / "trace") == traces
    evaluate_run(run, stages=["quality"], fresh=True)
    assert AdaptiveForSequenceClassification.from_pretrained(run / "model").config.certificate


def test_the_report_is_about_the_certified_point(run: Path) -> None:
    """In the call that certifies, in later ones, and where the weights are gone."""
    evaluate_run(run, stages=["certify"], certify=BUDGET)
    point = json.loads((run / "report" / "certificate.json").read_text())["certificate"]["exit"]
    assert reported(run / "report")["exit"] == point != EXIT
    shutil.rmtree(run / "model")
    for _ in range(2):
        summary = (run / "report" / "summary.md").read_text()
        assert f"{OperatingPoint.of(point).label}, certified: accuracy_gap at most 60 %, 80 % confidence." in summary
        evaluate_run(run, stages=["quality"])
        assert reported(run / "report")["exit"] == point


def test_the_benchmark_times_the_certified_point(run: Path) -> None:
    quick = {"examples": 4, "rounds": 1, "warmup": 0, "batch_sizes": [1], "memory": False, "onnx": False}
    evaluate_run(run, stages=["certify", "benchmark"], certify=BUDGET, benchmark=quick)
    timed = json.loads((run / "report" / "benchmark.json").read_text())["measurements"]
    assert reported(run / "report")["exit"] in [measured["exit"] for measured in timed]


def test_an_exit_that_is_asked_for_has_no_certificate(run: Path) -> None:
    certified = certify(run)["certificate"]["exit"]
    report = evaluate_run(run, stages=["quality"], exit=EXIT)
    assert report.folder == run / "report" / OperatingPoint.of(EXIT).slug and reported(report.folder)["exit"] == EXIT
    summary = (report.folder / "summary.md").read_text()
    assert f"certified is {OperatingPoint.of(certified).label}" in summary and "says nothing of this point" in summary
    assert " ".join(OperatingPoint.of(EXIT).overrides) in summary  # the command repeats it
    assert evaluate_run(run, stages=["quality"], exit=certified).folder == run / "report"


def test_a_certificate_of_other_traces_does_not_count(run: Path) -> None:
    certify(run)
    shutil.rmtree(run / "model")
    path = run / "report" / "certificate.json"
    values = json.loads(path.read_text())
    values["certificate"]["observed"] += 0.1
    path.write_text(json.dumps(values))
    evaluate_run(run, stages=["quality"])
    assert reported(run / "report")["exit"] == EXIT
    path.write_text('{"certificate": {}}')
    with pytest.raises(ValueError, match=r"certificate.json is no certificate that was written here .*; remove it"):
        evaluate_run(run, stages=["quality"])


def test_earlier_certificates_are_kept_and_said(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    report = run / "report"
    first = certify(run)
    assert not (report / "certificates.md").exists() and "CAUTION" not in caplog.text
    second = certify(run, method="conformal_risk_control")
    assert "CAUTION: 2 attempts on this certification split. Each certificate holds by itself" in caplog.text
    (aside,) = report.glob("certificate-*.json")
    assert json.loads(aside.read_text()) == first and aside.with_suffix(".md").is_file()
    refused = {"max_drop": 0.3, "criteria": ["patience"], "method": "learn_then_test"}
    assert certify(run, **refused) == second  # which the model still carries
    text = (report / "certificates.md").read_text()
    assert text.startswith("# 3 attempts") and text.count("refused") == 1
    assert text.index("[certificate](certificate.md)") < text.index(f"[{aside.stem}]({aside.stem}.md)")
    before = {name: text for name, text in files(report).items() if name.startswith("certificate")}
    certify(run, **refused)
    certify(run, method="conformal_risk_control")
    assert {name: text for name, text in files(report).items() if name.startswith("certificate")} == before
    assert certify(run) == first and not aside.exists()  # in its place again


def test_a_refusal_gives_way_to_a_certificate(run: Path) -> None:
    refusal = certify(run, max_drop=0.3, criteria=["patience"], method="learn_then_test")
    assert refusal["certificate"] is None and certify(run)["certificate"]
    (aside,) = (run / "report").glob("certificate-*.json")
    assert json.loads(aside.read_text()) == refusal


def test_another_budget_takes_the_place_of_the_first(run: Path) -> None:
    first = certify(run)["certificate"]
    second = certify(run, method="conformal_risk_control")["certificate"]
    config = json.loads((run / "model" / "config.json").read_text())
    assert config["certificate"]["method"] == second["method"] != first["method"]
    assert (run / "model" / "README.md").read_text().count(BEGIN) == 1


def test_a_refusal_leaves_the_model_alone(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = files(run / "model")
    caplog.set_level("INFO")
    result = certify(run, max_drop=0.3, criteria=["patience"], method="learn_then_test")
    assert result["certificate"] is None and files(run / "model") == before
    assert "not certified, accuracy_gap at most 30 %, 80 % confidence" in caplog.text


def test_without_weights_the_certificate_is_in_the_report_alone(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bare = Path(shutil.copytree(run, tmp_path / "bare" / "small", ignore=shutil.ignore_patterns("model")))
    caplog.set_level("INFO")
    certificate = certify(bare)["certificate"]
    assert "No weights here" in caplog.text and not (bare / "model").exists()
    assert certificate == {key: value for key, value in certify(run)["certificate"].items() if key != "model"}


def test_the_run_with_the_cheaper_schedule_gets_the_certificate(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruned = write_run(tmp_path / "pruned", pruner={"name": "l2_norm", "depths": [1, 2], "ratio": 0.8})
    with pytest.raises(ValueError, match=r"certify.runs: the traces of .*pruned are missing .*run=.*pruned"):
        certify(run, runs=[str(pruned)])
    other = AdaptiveForSequenceClassification.from_pretrained(pruned / "model")
    with torch.no_grad():
        next(other.parameters()).mul_(1.001)  # trained apart
    other.save_pretrained(pruned / "model")
    evaluate_run(pruned, stages=["quality"])
    before = files(run / "model")
    held: list[Path] = []
    monkeypatch.setattr("eat.evaluation.run.locked_together", lambda all_of: nullcontext(held.extend(all_of)))
    result = certify(run, runs=[str(pruned)], max_drop=0.95, criteria=["never"])  # full depth of the one or the other
    assert held == [run, pruned], "what is read, and may be written, is locked"
    assert result["settings"]["runs"] == ["small", "pruned"]
    assert result["certificate"]["run"] == "pruned" and files(run / "model") == before
    model = AdaptiveForSequenceClassification.from_pretrained(pruned / "model")
    assert model.config.certificate["reference"] == "full depth of small"
    assert model.config.certificate["fallback"] == {"pruner": None}
    with pytest.raises(ValueError, match=r"certify.runs: expected further runs with names of their own"):
        certify(run, runs=[str(run)])


def test_a_variant_falls_back_to_the_pruning_of_its_reference(run: Path) -> None:
    variant = evaluate_run(run, pruner={"ratio": 0.8}, stages=["quality"]).folder.parent
    certificate = certify(run, runs=[str(variant)], max_drop=0.95, criteria=["never"])["certificate"]
    assert certificate["run"] == "small-ratio0.8"
    assert certificate["fallback"] == {"pruner": FinishedRun(run).model_config()["pruner"]}
    assert "fallback" not in certify(run)["certificate"]


def test_a_certificate_by_group_is_carried_by_the_model(run: Path) -> None:
    certificate = certify(run, by="length")["certificate"]
    model = AdaptiveForSequenceClassification.from_pretrained(run / "model")
    assert model.config.certificate == with_digest(certificate)
    assert certificate["by"] == "length" and sum(certificate["groups"].values()) == 10
    assert "in each of the groups by length" in (run / "model" / "README.md").read_text()
    shutil.rmtree(run / "model")
    evaluate_run(run, stages=["quality"])
    summary = (run / "report" / "summary.md").read_text()
    assert "certified: accuracy_gap at most 60 % in each group by length, 80 % confidence." in summary


def test_a_certificate_against_a_dense_run_names_it(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dense = write_run(tmp_path / "dense", pruner={"name": "none"}, exit={"name": "never"})
    with pytest.raises(ValueError, match=r"certify.reference: the traces of .*dense are missing .*run=.*dense"):
        certify(run, reference=str(dense))
    evaluate_run(dense, stages=["quality"])
    before = files(dense / "model")
    held: list[Path] = []
    monkeypatch.setattr("eat.evaluation.run.locked_together", lambda all_of: nullcontext(held.extend(all_of)))
    result = certify(run, reference=str(dense), loss="accuracy_drop", max_drop=0.9)
    assert held == [run, dense] and files(dense / "model") == before
    assert result["settings"]["reference"] == "dense"
    certificate = json.loads((run / "model" / "config.json").read_text())["certificate"]
    assert certificate["reference"] == "full depth of dense" and certificate["loss"] == "accuracy_drop"
    assert certificate["fallback"] == {"pruner": {"name": "none"}}, "the same weights, without pruning"
    exit = certificate["exit"]
    shutil.rmtree(run / "model")
    evaluate_run(run, stages=["quality"])
    assert reported(run / "report")["exit"] == exit, "the depths of its traces are those that it says"


def test_a_retrofit_of_foreign_weights_says_what_its_certificate_rests_on(run: Path, tmp_path: Path) -> None:
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(f"{text}\nretrofit: some/classifier\n")
    assert "none of the rows" in certify(run)["certificate"]["caveat"]
    assert all("none of the rows" in (run / part).read_text() for part in ("report/certificate.md", "model/README.md"))
    (tmp_path / "source").mkdir()
    shutil.copytree(run, tmp_path / "source" / "small")
    source = tmp_path / "source" / "small"
    (run / "config.yaml").write_text(f"{text}\nretrofit: {source}\n")
    assert "(classifier)" in certify(run)["certificate"]["caveat"], "the source is a retrofit of foreign weights itself"
    (source / "config.yaml").write_text(text)
    assert certify(run)["certificate"]["caveat"] is None


def test_weights_that_began_as_a_classifier_say_what_a_certificate_rests_on(run: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())

    def caveat(**backbone: Any) -> str | None:
        (run / "config.yaml").write_text(yaml.safe_dump(config | {"backbone": config["backbone"] | backbone}))
        return store.caveat(FinishedRun(run))

    source = tmp_path / "source"
    shutil.copytree(run, source)
    assert caveat() is None and caveat(path=None, hub=None) is None, "random weights"
    assert caveat(path=str(source)) is None, "our own training held the same rows out"
    assert caveat(path=f"{source}/model") is None, "by its model as well"
    assert caveat(path="elsewhere/source/model") is None, "beside it, where both were moved"
    (source / "config.yaml").write_text(yaml.safe_dump(config | {"seed": 1}))
    assert "were fine-tuned elsewhere (source)" in (caveat(path=str(source)) or "")
    encoder = tmp_path / "encoder"
    BertModel(tiny_config("bert", vocab_size=20)).save_pretrained(encoder)
    assert caveat(path=str(encoder)) is None
    assert "cannot be read any more (gone)" in (caveat(path=str(tmp_path / "gone")) or "")
    assert caveat(path=None, hub="nobody/no-such-encoder") is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": ["certify"]}, r"certify.max_drop: expected the largest loss to certify, .* got none"),
        ({"stages": ["quality"], "certify": BUDGET}, r"a budget \(certify\.\*\) is given, expected 'certify' among"),
        ({"stages": ["quality"], "calibrate": {"max_ece": 0.1}}, r"a budget \(calibrate\.\*\) is given"),
        ({"certify": BUDGET | {"runs": "other"}}, r"certify.runs: expected a list, such as .*, got 'other'"),
        ({"certify": BUDGET | {"criteria": "margin"}}, r"certify.criteria: expected a list, .*, got 'margin'"),
        ({"certify": {"max_dorp": 0.1}}, r"certify.max_dorp: expected one of .* \(did you mean 'max_drop'\?\)"),
        ({"stages": ["certify"], "certify": {"max_drop": 2}}, r"certify.max_drop: expected a number in \(0, 1\)"),
        ({"stages": ["certify"], "certify": {"max_drop": 0.01}}, r"has 10 examples; .* takes at least 299"),
        (
            {"stages": ["certify"], "certify": BUDGET | {"by": "web"}},
            r"certify.by: expected one of \['label', 'length'\]",
        ),
        ({"stages": ["certify"], "certify": BUDGET | {"reference": "none"}}, r"certify.reference: no folder none"),
        ({"stages": ["certify"], "certify": BUDGET, "thresholds": [1.5]}, r"thresholds: expected a number in"),
    ],
)
def test_bad_options_are_named(run: Path, options: dict[str, Any], message: str) -> None:
    before = files(run / "model")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        evaluate_run(run, **options)
    assert files(run / "model") == before


def test_a_card_keeps_what_others_wrote() -> None:
    card = with_section(new_card("small") + "\nBy hand.\n", "first")
    assert card.startswith("---\nlibrary_name: transformers") and "By hand." in card
    again = with_section(card + "\nBelow.\n", "second \\1")
    assert "first" not in again and "second \\1" in again and again.endswith("\nBelow.\n")
    assert again.count(BEGIN) == again.count(END) == 1


def test_a_split_that_differs_is_said_beside_the_certificate(tmp_path: Path) -> None:
    traces = make_run()
    longer = traces["validation"].tokens_kept.copy()
    longer[:, 0] += 2
    settings = CertifySettings(max_drop=0.03)
    same, other = (
        make_certificate(
            as_runs(a=traces | {"validation": dataclasses.replace(traces["validation"], tokens_kept=kept)}), settings
        )
        for kept in (traces["validation"].tokens_kept, longer)
    )
    text, caution = (certificate_section(result, tmp_path, "certificate", stored=True) for result in (same, other))
    assert "CAUTION" not in text.console and "No difference seen" in str(text.files["certificate.md"])
    assert "CAUTION: the certification split differs from the reported one in length" in caution.console
    said = str(caution.files["certificate.md"])
    assert "differs in length: the certificate need not hold" in said
    assert "so accuracy is lower by no more than that" in said and outcome(other) in said
