"""The forms for reports are valid by the schemas of who shows them."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
import yaml

FORMS = sorted((Path(__file__).parents[1] / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_a_form_is_valid(form: Path) -> None:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema goes with no mitmproxy of Python 3.11")
    kind = "config" if form.stem == "config" else "forms"
    schema = files("check_jsonschema.builtin_schemas") / "vendor" / f"github-issue-{kind}.json"
    jsonschema.validate(yaml.safe_load(form.read_text()), json.loads(schema.read_text()))


def test_there_are_forms() -> None:
    assert {form.stem for form in FORMS} == {"config", "wrong-figure", "client", "delivery", "idea"}
