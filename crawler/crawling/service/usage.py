"""What the help of every command ends with, and what exit codes mean."""

from __future__ import annotations

import argparse
from typing import Any

#: Exit codes of all commands: it was done, it was not, the command line or a setting makes
#: no sense, Ctrl-C.
DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
EXIT_CODES = {
    DONE: "done",
    FAILED: "failed: a server is away, or what was asked for did not come true",
    USAGE: "usage: an argument, an option or a setting makes no sense",
    INTERRUPTED: "interrupted by Ctrl-C",
}

#: Command -> how it may be called.
EXAMPLES: dict[str, tuple[str, ...]] = {
    "crawl": (
        "fleet crawl https://example.com --depth 2 --save pages.tar.gz",
        "fleet crawl example.com --tracker sqlite:///crawl.db --crawlid first",
    ),
    "doctor": ("fleet doctor", "fleet doctor --tracker redis://localhost:6379/0 --patience 5"),
    "alive": ("fleet alive worker",),
    "audit": ("fleet audit", "fleet audit --crawlid first --repair"),
    "migrate": ("fleet migrate --from redis://old:6379/0 --tracker redis://new:6379/0 --go",),
    "status": (
        "fleet status --tracker sqlite:///crawl.db",
        "fleet status --crawlid first --json",
    ),
    "stop": ("fleet stop --crawlid first",),
    "pause": ("fleet pause --crawlid first",),
    "resume": ("fleet resume --crawlid first",),
    "prioritize": (
        "fleet prioritize --crawlid first 20",
        "fleet prioritize --crawlid first -- -50",
    ),
    "retry": (
        "fleet retry --crawlid first --reason timeout",
        "fleet retry --crawlid first --domain example.com --from-kafka",
    ),
    "trace": ("fleet trace https://example.com/a --crawlid first",),
    "workers": ("fleet workers", "fleet workers --json"),
    "domains": ("fleet domains --limit 20", "fleet domains apply domains.yaml --dry-run"),
    "top": ("fleet top", "fleet top --tracker sqlite:///crawl.db"),
    "tail": (
        "fleet tail first",
        "fleet tail first --tracker sqlite:///crawl.db --json",
    ),
    "worker": ("fleet worker --processes 4", "fleet worker --spider my_spider.py"),
    "startproject": ("fleet startproject news",),
    "completion": (
        'eval "$(fleet completion bash)"',
        "fleet completion fish > ~/.config/fish/completions/fleet.fish",
    ),
    "kafka-monitor": ("fleet kafka-monitor", "fleet kafka-monitor -s KAFKA_GROUP=other -lj"),
    "redis-monitor": ("fleet redis-monitor", "fleet redis-monitor -ll DEBUG"),
    "serve": (
        "fleet serve --tracker sqlite:///crawl.db",
        "fleet serve --host 0.0.0.0 -s REST_TOKENS=tokens.txt",
        "fleet serve --new-token grafana read",
    ),
    "feed": (
        'fleet feed \'{"url": "https://example.com", "appid": "me", "crawlid": "first"}\'',
        "fleet feed requests.jsonl",
    ),
    "dump": ("fleet dump -t demo.crawled_firehose -p -nb", "fleet dump list"),
}


def help_with_examples(text: str, name: str) -> dict[str, Any]:
    """Return what a parser is made with to describe a command, and to end with its examples."""
    return {
        "description": text,
        "epilog": "\n  ".join(["examples:", *EXAMPLES[name]]),
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }


def exit_codes() -> str:
    return "\n  ".join(
        ["exit codes:", *(f"{code:3}  {text}" for code, text in EXIT_CODES.items())]
    )


def subparsers_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    [commands] = [action.choices for action in parser._actions if action.choices]
    return dict(commands)
