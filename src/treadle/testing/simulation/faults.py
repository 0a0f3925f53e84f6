"""Foremen, and what happens to them: deaths, freezes, orderly stops, cut lines, bad weather."""

from __future__ import annotations

from collections.abc import Callable
from random import Random  # noqa: TID251 - seeded

from treadle.testing.simulation.network import FAIR, Weather
from treadle.testing.simulation.people import Common, ForemanProcess

__all__ = ["Faults"]

_WEATHERS = (
    FAIR,
    Weather(lost=0.05, unheard=0.05, overtaken=0.05, twice=0.1, slow=0.1),
    Weather(lost=0.2, unheard=0.2, overtaken=0.1, twice=0.2, slow=0.3),
    Weather(unheard=0.6),
    Weather(overtaken=0.4, twice=0.4),
    Weather(slow=0.8),
    Weather(lost=0.9),
)


class Faults:
    """Hires foremen and makes their life hard.

    Args:
        chance: decides what happens, and when.
        lease: seconds, of the foremen that it hires.
    """

    def __init__(self, common: Common, chance: Random, lease: float) -> None:
        self.foremen: list[ForemanProcess] = []
        self._common = common
        self._chance = chance
        self._lease = lease
        self._over = False

    def hire(self) -> ForemanProcess:
        """One more foreman."""
        one = ForemanProcess(self._common, f"foreman-{len(self.foremen)}", self._lease)
        self._note(f"hires {one.name}")
        self.foremen.append(one)
        return one

    async def rage(self, seconds: float) -> None:
        """Let things happen for so long."""
        loop, chance = self._common.loop, self._chance
        until = loop.time() + seconds
        actions: tuple[Callable[[], object], ...] = (
            self._kill, self._freeze, self._freeze, self._stop, self._stop, self._cut, self._cut,
            self._storm, self._storm, self._set_clock,
        )  # fmt: skip
        clock = self.foremen[0].clock
        while loop.time() < until:
            await clock.sleep(chance.uniform(0.2, 6.0))
            chance.choice(actions)()
            if not any(not one.ended for one in self.foremen) and chance.random() < 0.7:
                self.hire()

    def calm(self) -> None:
        """No more faults: everybody is awake, the lines are whole, somebody serves all queues."""
        self._note("is calm")
        self._over = True
        self._common.network.weather = FAIR
        for one in self.foremen:
            one.process.thaw()
            one.link.cut = False
        self.hire()

    def _replace(self) -> None:
        if not self._over:
            self.hire()

    def _living(self) -> ForemanProcess | None:
        living = [one for one in self.foremen if not one.ended]
        return self._chance.choice(living) if living else None

    def _note(self, what: str) -> None:
        self._common.audit.note("fate", what)

    def _later(self, least: float, most: float, then: Callable[[], object]) -> None:
        self._common.loop.call_later(self._chance.uniform(least, most), then)

    def _kill(self) -> None:
        one = self._living()
        if one is not None:
            self._note(f"kills {one.name}")
            one.process.kill()
            self._later(0.0, 2 * self._lease, self._replace)

    def _stop(self) -> None:
        one = self._living()
        if one is not None:
            self._note(f"stops {one.name}")
            one.process.leaving = True
            one.ask_to_stop()
            self._later(0.0, 5.0, self._replace)

    def _freeze(self) -> None:
        one = self._living()
        if one is not None and not one.process.frozen:
            self._note(f"freezes {one.name}")
            one.process.freeze()
            self._later(0.1, self._chance.choice((0.5, 1.5, 3.0)) * self._lease, one.process.thaw)

    def _cut(self) -> None:
        one = self._living()
        if one is not None:
            self._note(f"cuts off {one.name}")
            one.link.cut = True

            def mend() -> None:
                one.link.cut = False

            self._later(0.1, self._chance.choice((0.5, 3.0)) * self._lease, mend)

    def _storm(self) -> None:
        self._common.network.weather = weather = self._chance.choice(_WEATHERS)
        self._note(f"makes {weather}")

    def _set_clock(self) -> None:
        one = self._living()
        if one is not None:
            one.clock.ahead += self._chance.choice((-3600.0, -1.0, 1.0, 3600.0))
            self._note(f"sets the clock of {one.name}")
