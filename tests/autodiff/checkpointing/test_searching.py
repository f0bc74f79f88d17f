"""The search for the least number with a property."""

from __future__ import annotations

from itertools import product

from autodiff.checkpointing.searching import least_number


def test_any_guess_finds_the_least_number() -> None:
    """From every guess the least number is found; a good guess asks twice."""
    for most, least, guess in product((1, 2, 7, 16), range(1, 17), range(18)):
        if least <= most:
            asked: list[int] = []

            def holds(number: int, least: int = least, asked: list[int] = asked) -> bool:
                asked.append(number)
                return number >= least

            assert least_number(holds, guess, most) == least
            assert all(1 <= number <= most for number in asked)
            assert guess != least or len(asked) <= 2
