"""`fleet domains`: what is queued by domain, and how domains are treated."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from crawling.exceptions import ConfigError
from crawling.report import show
from crawling.service.patterns import registered_domain
from crawling.service.text import printable
from crawling.tracker.tracker import DomainSetting
from crawling.tracker_commands import on_tracker, print_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from crawling.tracker.tracker import DomainStatus, Tracker


def add_parsers(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    text = "domains with work, and those that are treated in a way of their own"
    parser = commands.add_parser("domains", help=text, description=text, parents=[common])
    parser.add_argument("--spider", default="link", metavar="NAME", help="kind of spider")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="most to list")
    parser.add_argument(
        "--dry-run", action="store_true", help="apply: only say what would change"
    )
    parser.add_argument(
        "apply",
        nargs="*",
        metavar="apply FILE",
        help="let the settings be those of a YAML file",
    )
    parser.set_defaults(command=on_tracker(_domains))


async def _domains(args: argparse.Namespace, tracker: Tracker) -> None:
    match args.apply:
        case []:
            await _list(args, tracker)
        case ["apply", file]:
            await _apply(args, tracker, read_settings(Path(file)))
        case words:
            raise ConfigError(
                "domains", f"takes `apply FILE` or nothing, not {' '.join(words)!r}"
            )


async def _list(args: argparse.Namespace, tracker: Tracker) -> None:
    domains = await tracker.domains(args.spider, args.limit)
    settings = await tracker.domain_settings()
    if args.json:
        found = {"domains": [asdict(each) for each in domains]}
        print_json({**found, "settings": [each._asdict() for each in settings]})
        return
    lines = [*map(_status_text, domains), *map(_setting_text, settings)]
    show("\n".join(map(printable, lines)) if lines else "no domains")


async def _apply(
    args: argparse.Namespace, tracker: Tracker, wanted: Mapping[str, DomainSetting]
) -> None:
    """Make the settings those of the file: what it does not name is taken back."""
    known = {each.domain: each for each in await tracker.domain_settings()}
    changes = [
        wanted.get(domain, DomainSetting(domain))
        for domain in sorted(known.keys() | wanted)
        if wanted.get(domain) != known.get(domain)
    ]
    if not args.dry_run:
        for each in changes:
            await tracker.limit(each.domain, each.hits, each.window, each.scale)
            await tracker.block(each.domain, blocked=each.blocked)
    if args.json:
        print_json([each._asdict() for each in changes])
    else:
        show(
            "\n".join(printable(_setting_text(each)) for each in changes) or "nothing to change"
        )


def read_settings(path: Path) -> dict[str, DomainSetting]:
    """Read the YAML that Scrapy Cluster kept in ZooKeeper; raise `ConfigError`."""
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError("FILE", f"cannot read {str(path)!r}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeError, RecursionError) as error:
        text = " ".join(str(error).split())
        raise ConfigError("FILE", f"{str(path)!r} is no YAML: {text}") from error
    content = {} if content is None else content
    if not isinstance(content, dict) or not content.keys() <= {"domains", "blacklist"}:
        raise ConfigError("FILE", f"{str(path)!r} must have `domains` and `blacklist` alone")
    settings = {each.domain: each for each in _limits(content.get("domains") or {})}
    for domain in _blacklist(content.get("blacklist") or []):
        settings[domain] = settings.get(domain, DomainSetting(domain))._replace(blocked=True)
    return settings


def _limits(domains: Any) -> Iterator[DomainSetting]:
    if not isinstance(domains, dict):
        raise ConfigError("domains", f"must map domains to hits and window, not {domains!r}")
    for name, given in domains.items():
        path = f"domains.{name}"
        if not isinstance(given, dict) or not given.keys() <= {"hits", "window", "scale"}:
            raise ConfigError(path, f"must have hits, window and perhaps scale, not {given!r}")
        hits = _number(path, given, "hits", whole=True)
        window = _number(path, given, "window")
        scale = _number(path, given, "scale") if "scale" in given else 1.0
        if scale > 1:
            raise ConfigError(f"{path}.scale", f"must be at most 1, not {scale:g}")
        yield DomainSetting(_domain(path, name), int(hits), window, scale)


def _number(path: str, given: Mapping[str, Any], name: str, *, whole: bool = False) -> float:
    value = given.get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < float(value or 0) < 1e9 or (whole and value != int(value or 0)):
        kind = "a whole number of 1 or more" if whole else "a number above 0"
        raise ConfigError(f"{path}.{name}", f"must be {kind}, not {value!r}")
    return float(value or 0)


def _blacklist(domains: Any) -> list[str]:
    if not isinstance(domains, list):
        raise ConfigError("blacklist", f"must be a list of domains, not {domains!r}")
    return [_domain("blacklist", each) for each in domains]


def _domain(path: str, name: Any) -> str:
    try:
        return registered_domain(str(name))
    except ConfigError as error:
        raise ConfigError(path, error.problem) from error


def _status_text(status: DomainStatus) -> str:
    opens = "" if status.opens is None else f"  opens at {status.opens:.3f}"
    blocked = "  blocked" if status.blocked else ""
    return f"{status.domain}  queued {status.queued}  in flight {status.leased}{opens}{blocked}"


def _setting_text(setting: DomainSetting) -> str:
    limit = f"{setting.hits} hits in {setting.window:g} s"
    if setting.scale != 1:
        limit += f", scaled by {setting.scale:g}"
    words = ["blocked"] if setting.blocked else []
    words += [limit] if setting.hits else []
    return f"{setting.domain}  {', '.join(words) or 'as all others'}"
