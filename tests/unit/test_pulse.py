"""What a worker tells of itself."""

from __future__ import annotations

from crawling.pulse import SPAN, Pulse


def test_the_rate_is_that_since_it_was_taken_last() -> None:
    pulse = Pulse()
    pulse.pages = 50
    pulse._since -= 10.0
    assert 4.5 < pulse.take().rate <= 5.0

    pulse.pages = 80
    pulse._since -= 2 * SPAN
    assert 2.5 < pulse.take().rate <= 3.0

    pulse._since -= 2 * SPAN
    assert pulse.take().rate == 0.0


def test_a_moment_says_nothing_of_the_rate() -> None:
    pulse = Pulse()
    pulse.pages = 50
    pulse._since -= 10.0
    rate = pulse.take().rate

    pulse.pages = 90

    assert (pulse.take().pages, pulse.take().rate) == (90, rate)


def test_the_memory_is_that_of_this_process() -> None:
    before = Pulse().take().memory
    taken = bytearray(64_000_000)

    after = Pulse().take().memory

    assert 10_000_000 < before < 2_000_000_000
    assert len(taken) * 0.9 < after - before < len(taken) * 1.5
