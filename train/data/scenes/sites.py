"""The kinds of places, the ground sampling distances at which each makes sense, and how often each is drawn."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from train.data.scenes.plan import Plan
from train.data.scenes.sites_built import airfield, city, industry, junction, shopping, suburb
from train.data.scenes.sites_land import desert, farmland, forest, solar_farm, sports_park
from train.data.scenes.sites_shore import meadow_with_lake, river_town, waterfront


@dataclass(frozen=True, slots=True)
class Site:
    """A kind of place: how it is filled, at which metres a pixel, and how often it is drawn."""

    fill: Callable[[Plan], None]
    gsd_m: tuple[float, float]
    weight: float


SITES = (
    Site(suburb, (0.22, 1.1), 3.0),
    Site(farmland, (0.5, 2.0), 1.6),
    Site(forest, (0.3, 1.5), 0.8),
    Site(city, (0.3, 1.0), 1.6),
    Site(industry, (0.35, 1.5), 1.6),
    Site(airfield, (0.35, 2.0), 1.8),
    Site(waterfront, (0.3, 1.6), 1.8),
    Site(river_town, (0.4, 1.8), 1.2),
    Site(sports_park, (0.3, 1.3), 2.0),
    Site(shopping, (0.2, 0.45), 1.2),
    Site(solar_farm, (0.25, 1.0), 0.8),
    Site(desert, (0.3, 1.5), 0.7),
    Site(meadow_with_lake, (0.4, 1.8), 1.2),
    Site(junction, (0.22, 0.65), 1.0),
)


def make_plan(rng: np.random.Generator) -> Plan:
    """Draw a kind of place and fill it."""
    weights = np.array([site.weight for site in SITES])
    site = SITES[int(rng.choice(len(SITES), p=weights / weights.sum()))]
    low, high = np.log(site.gsd_m)
    plan = Plan(rng=rng, gsd_m=round(float(np.exp(rng.uniform(low, high))), 2))
    site.fill(plan)
    return plan
