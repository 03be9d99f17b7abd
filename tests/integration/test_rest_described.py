"""What the REST service says of itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from crawling.messages.crawl import submission
from crawling.messages.validation import load_schema
from rest_service import models
from rest_service.examples import CRAWL_REQUEST, POLL_REQUEST
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
            if content is None or "example" in content or "examples" in content:
                continue
            where = f"{method} {path}"
            if path in {"/healthz", "/readyz"}:
                continue
            # A body that may be left out is this or null.
            [name] = re.findall(r"#/components/schemas/(\w+)", str(content["schema"]))
            assert described["components"]["schemas"][name].get("example"), f"{where}: {name}"
            model = getattr(models, name)
            # There, FastAPI leaves out what is None.
            example = model.model_config["json_schema_extra"]["example"]
            assert model.model_validate(example).model_dump(mode="json") == example, where
            seen.add(name)
    assert len(seen) > 12


async def test_examples_of_parameters_and_bodies_are_taken(tmp_path: Path) -> None:
    """What they name is not there: 404, or 500 for want of Kafka; none of them is wrong."""
    async with serving(f"sqlite:///{tmp_path}/crawl.db") as served:
        described = await served.get("/openapi.json")
        examples = {parameter["name"] for parameter in parameters(described)}
        assert {"spiderid", "crawlid", "domain", "url", "limit", "after", "state"} <= examples
        for method, path, operation in operations(described):
            given = dict[str, list[tuple[str, Any]]]()
            for parameter in operation.get("parameters", ()):
                [example] = parameter["schema"]["examples"]
                given.setdefault(parameter["in"], []).append((parameter["name"], example))
            if path == "/api/v1/events":
                continue
            content = operation.get("requestBody", {}).get("content", {})
            for body in bodies(described, content.get("application/json")):
                asked = await served.client.request(
                    method,
                    path.format(**dict(given.get("path", ()))),
                    params=dict(given.get("query", ())),
                    json=body,
                )
                assert asked.status_code not in {400, 405, 422}, (
                    f"{method} {path}: {asked.text}"
                )


def parameters(described: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for _, _, told in operations(described) for each in told.get("parameters", ())]


def bodies(described: dict[str, Any], content: dict[str, Any] | None) -> list[Any]:
    """Return the examples of a body; [None] where there is none."""
    if content is None:
        return [None]
    if "examples" in content:
        return [each["value"] for each in content["examples"].values()]
    if "example" in content:
        return [content["example"]]
    [name] = re.findall(r"#/components/schemas/(\w+)", str(content["schema"]))
    return [described["components"]["schemas"][name]["example"]]


async def test_what_scrapy_clusters_endpoints_answer_has_its_examples(
    described: dict[str, Any], tmp_path: Path
) -> None:
    def examples(method: str, path: str, status: str) -> list[Any]:
        answers = described["paths"][path][method]["responses"][status]["content"]
        return [each["value"] for each in answers["application/json"]["examples"].values()]

    async with serving(f"sqlite:///{tmp_path}/other.db") as served:
        for method in ("get", "post"):
            [shown] = examples(method, "/", "200")
            assert set((await served.client.request(method, "/")).json()) == set(shown)
        for path, body in (("/feed", CRAWL_REQUEST), ("/poll", POLL_REQUEST)):
            for status, sent in (("500", body), ("400", None)):
                [shown] = examples("post", path, status)
                answer = (await served.client.post(path, json=sent or {"x": 1})).json()
                assert answer["error"]["message"] == shown["error"]["message"]
                assert set(answer) == set(shown)
    [missing] = examples("post", "/poll", "404")
    assert missing["error"] == {"message": "Could not find matching poll_id"}
    assert len(examples("post", "/feed", "200")) == 3


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
