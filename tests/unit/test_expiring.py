from __future__ import annotations

from crawling.service.expiring import ExpiringCache


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_value_is_kept_for_its_time_and_no_longer() -> None:
    clock = Clock()
    cache: ExpiringCache[str] = ExpiringCache(2, 10, clock)
    cache.put("a", "x")

    clock.now += 9.9
    assert cache.get("a") == "x"
    clock.now += 0.1
    assert cache.get("a") is None
    assert len(cache) == 0


def test_what_was_put_first_makes_room() -> None:
    cache: ExpiringCache[int] = ExpiringCache(2, 10)
    cache.put("a", 1)
    cache.put("b", 2)
    cache.put("a", 3)
    cache.put("c", 4)

    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (3, None, 4)


def test_without_time_nothing_is_kept() -> None:
    cache: ExpiringCache[int] = ExpiringCache(2, 0)
    cache.put("a", 1)

    assert cache.get("a") is None
