"""What the REST service says of itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from crawling.messages.crawl import submission
from crawling.messages.validation import load_schema
from rest_service import models
from rest_service.settings import DOMAIN_MAX_PAGES_LIMIT, MAXDEPTH_LIMIT
from tests.integration.serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "rest.md"
ONE = "/crawls/{spiderid}/{appid}/{crawlid}"


@pytest.fixture
async def described(tmp_path: Path) -> AsyncIterator[dict[str, Any]]:
    async with serving(f"sqlite:///{tmp_path}/crawl.db") as served:
        yield await served.get("/openapi.json")


def operations(described: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method.upper(), path, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]


async def test_every_operation_says_what_it_does_and_how_it_fails(
    described: dict[str, Any],
) -> None:
    assert len(operations(described)) > 25
    for method, path, operation in operations(described):
        where = f"{method} {path}"
        assert operation["description"], where
        assert "422" not in operation["responses"], where
        if path.startswith("/api/"):
            assert operation["security"], where
            assert {"401", "403", "429", "503"} <= set(operation["responses"]), where
            bad = operation["responses"]["503"]["content"]
            assert list(bad) == ["application/problem+json"], where


async def test_every_reference_in_the_description_leads_somewhere(
    described: dict[str, Any],
) -> None:
    references = set(re.findall(r"'\$ref': '([^']+)'", str(described)))

    assert "#/components/schemas/CrawlRequest" in references
    for reference in references:
        _, *parts = reference.split("/")
        found: Any = described
        for part in parts:
            found = found[part]
        assert found, reference


async def test_the_example_of_a_crawl_request_is_one(described: dict[str, Any]) -> None:
    body = described["paths"]["/api/v1/crawls"]["post"]["requestBody"]
    example = body["content"]["application/json"]["example"]
    limits = {
        "MAXDEPTH_LIMIT": MAXDEPTH_LIMIT,
        "DOMAIN_MAX_PAGES_LIMIT": DOMAIN_MAX_PAGES_LIMIT,
    }

    valid = load_schema("crawl", limits).validate(example)

    assert submission(valid, None, private_allowed=False).offers
    known = described["components"]["schemas"]["CrawlRequest"]["properties"]
    assert known["maxdepth"]["maximum"] == MAXDEPTH_LIMIT


async def test_what_every_operation_takes_and_answers_has_an_example_that_is_valid(
    described: dict[str, Any],
) -> None:
    seen = set[str]()
    for method, path, operation in operations(described):
        bodies = [operation.get("requestBody", {})]
        bodies += [told for status, told in operation["responses"].items() if status < "300"]
        for body in bodies:
            content = body.get("content", {}).get("application/json")
            if not path.startswith("/api/") or content is None or "example" in content:
                continue
            where = f"{method} {path}"
            # A body that may be left out is this or null.
            [name] = re.findall(r"#/components/schemas/(\w+)", str(content["schema"]))
            assert described["components"]["schemas"][name].get("example"), f"{where}: {name}"
            model = getattr(models, name)
            # There, FastAPI leaves out what is None.
            example = model.model_config["json_schema_extra"]["example"]
            assert model.model_validate(example).model_dump(mode="json") == example, where
            seen.add(name)
    assert len(seen) > 12


async def test_the_reference_page_has_every_operation(described: dict[str, Any]) -> None:
    text = PAGE.read_text("utf-8")
    listed = set[tuple[str, str]]()
    for row in re.findall(r"^\| (`(?:GET|POST|PUT|DELETE)[^|]*) \|", text, re.MULTILINE):
        plain = row.replace("*crawl*", f" {ONE}")
        methods = re.findall(r"\b(?:GET|POST|PUT|DELETE)\b", plain)
        paths = [path.partition("?")[0] for path in re.findall(r"/[\w{}/?=-]*", plain)]
        if ONE in paths and len(paths) > 1:
            paths = [f"{ONE}{path}" for path in paths if path != ONE]
        listed |= {(method, path) for method in methods for path in paths}

    known = {
        (method, path.removeprefix("/api/v1"))
        for method, path, _ in operations(described)
        if path.startswith("/api/v1")
    }
    assert known <= listed
