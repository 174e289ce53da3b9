"""Every data set we train on, each read by its own file; `SOURCES` is the list."""

from train.data.convert import (
    aerial_cars,
    aid_rsicd,
    amazon_forest_s2,
    buildings_openaerialmap,
    cd_samples,
    cil_roads,
    dota_example,
    dubai_landcover,
    gsi_japan,
    neon_trees,
    nwpu_vhr10,
    oscd,
    planes_planetscope,
    sztaki_airchange,
    urban_trees_naip,
    vegas_road,
)
from train.data.convert.source import Source

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        buildings_openaerialmap.SOURCE,
        aerial_cars.SOURCE,
        neon_trees.SOURCE,
        urban_trees_naip.SOURCE,
        planes_planetscope.SOURCE,
        dubai_landcover.SOURCE,
        amazon_forest_s2.SOURCE,
        gsi_japan.ROAD,
        gsi_japan.SOLAR,
        vegas_road.SOURCE,
        aid_rsicd.SOURCE,
        nwpu_vhr10.SOURCE,
        cil_roads.SOURCE,
        oscd.SOURCE,
        sztaki_airchange.SOURCE,
        cd_samples.SOURCE,
        dota_example.SOURCE,
    )
}
