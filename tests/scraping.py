"""What Prometheus gets of a process."""

from __future__ import annotations

import socket
import urllib.request
from urllib.error import URLError

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def parsed(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(port: int) -> Samples:
    """Return the samples of a process, none while it does not listen."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            return parsed(answer.read().decode())
    except (URLError, ConnectionError):
        return {}


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, frozenset(labels.items())), 0.0)


def by_label(samples: Samples, name: str, label: str) -> dict[str, float]:
    """Return the values of a name by one of its labels, without those that are 0."""
    return {
        dict(labels)[label]: each
        for (of, labels), each in samples.items()
        if of == name and each
    }


def labels_of(samples: Samples) -> dict[str, set[str]]:
    """Return all values of each label of our own metrics, but for the bounds of buckets."""
    found = dict[str, set[str]]()
    for name, labels in samples:
        if name.startswith("fleet_"):
            for label, each in labels:
                found.setdefault(label, set()).add(each)
    found.pop("le", None)
    return found


def series(samples: Samples) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    return {each for each in samples if each[0].startswith("fleet_")}
