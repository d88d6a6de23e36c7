"""What a release and a contribution go by: one version, one list of checks, metadata and forms that say what is so."""

from __future__ import annotations

import re
import tomllib

import pytest
from test_readme import ROOT

from audioxai.version import __version__

yaml = pytest.importorskip("yaml", reason="needs PyYAML; pip install '.[dev]'")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CHANGES = (ROOT / "CHANGELOG.md").read_text()


def read(path: str) -> dict:
    return yaml.safe_load((ROOT / path).read_text())


def test_one_version():
    """Of the package, the citation and the newest release in the changelog, which may be yet to come."""
    top, *_ = re.findall(r"^## (.+)$", CHANGES, re.MULTILINE)
    released = re.findall(r"^## (\d+\.\d+\.\d+) - (\d{4}-\d\d-\d\d)$", CHANGES, re.MULTILINE)
    citation = read("CITATION.cff")
    assert top == "Unreleased" or top.startswith(f"{__version__} - ")
    assert citation["version"] == __version__
    if released:
        assert (__version__, str(citation["date-released"])) == released[0]
    else:
        assert "date-released" not in citation


def test_the_hooks_are_the_checks_that_ci_runs_and_contributing_names():
    (local,) = read(".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"  # nothing is fetched, and the tools are those of the environment
    assert all(hook["language"] == "system" and not hook["pass_filenames"] for hook in local["hooks"])
    assert [hook["entry"] for hook in local["hooks"]] == ["ruff check .", "ruff format --check .", "mypy"]
    everything = (ROOT / ".ci" / "run").read_text().splitlines()
    assert "pre-commit run --all-files" in everything
    assert not [line for line in everything if line.startswith(("ruff", "mypy"))]
    assert {"pre-commit", "ruff", "mypy"} <= {re.split(r"\W?[>=]", one)[0] for one in extras()["dev"]}
    assert "pre-commit install" in (ROOT / "CONTRIBUTING.md").read_text()


def test_the_workflow_calls_the_same_script_on_every_python_that_is_promised():
    workflow = read(".github/workflows/ci.yml")
    assert {"push", "pull_request"} <= set(workflow[True])  # YAML's word "on"
    jobs = workflow["jobs"]
    assert ".ci/run" in [step.get("run") for step in jobs["checks"]["steps"]]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100
    promised = [one.rpartition(" ")[2] for one in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", one)]
    assert jobs["checks"]["strategy"]["matrix"]["python"] == promised
    assert PROJECT["requires-python"] == f">={promised[0]}"
    (slow,) = [step["run"] for step in jobs["packages-and-site"]["steps"] if "pytest" in step.get("run", "")]
    assert all((ROOT / path).is_file() for path in slow.split()[3:])


@pytest.mark.parametrize("form", ["bug_report", "feature_request"])
def test_forms(form):
    asked = read(f".github/ISSUE_TEMPLATE/{form}.yml")
    assert {"name", "description", "body"} <= set(asked)
    identities = [field["id"] for field in asked["body"]]
    assert len(set(identities)) == len(identities)
    assert {field["type"] for field in asked["body"]} <= {"markdown", "textarea", "input", "dropdown", "checkboxes"}
    assert all(field["attributes"]["label"] for field in asked["body"])
    if form == "bug_report":
        assert {"expected", "script", "doctor"} <= set(identities)
        assert any("`audioxai doctor`" in field["attributes"]["label"] for field in asked["body"])


def extras() -> dict[str, list[str]]:
    return PROJECT["optional-dependencies"]


def test_every_extra_that_errors_and_pages_name_is_there():
    folders = ("audioxai", "docs", "examples", "tests")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".md", ".py")]
    files += [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    pattern = r"""extra="(\w+)"|pip install [-e\\'" ]*(?:audioxai|\.)\\?\[(\w+)"""
    named = {one or other for path in files for one, other in re.findall(pattern, path.read_text())}
    assert {"hf", "datasets", "docs", "dev"} <= named <= set(extras())
    (everything,) = extras()["all"]
    assert set(re.findall(r"\w+", everything)) - {"audioxai"} <= set(extras())


def test_every_requirement_says_from_which_version_on():
    for requirement in [*PROJECT["dependencies"], *(one for extra in extras().values() for one in extra)]:
        assert ">=" in requirement or requirement.startswith("audioxai["), requirement
