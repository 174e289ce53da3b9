"""Every data set that can be trained on, each read by its own file.

`SOURCES` are the sets that the embedded model is made of, in the layout of a data root. `PUBLISHED` are public sets as
their publishers lay them out, `FORMATS` are layouts of your own data; of both the user names the folder. `REGISTRY` is
all of them.
"""

from train.data.convert import (
    aerial_cars,
    aid_rsicd,
    amazon_forest_s2,
    buildings_openaerialmap,
    cd_samples,
    cil_roads,
    coco,
    corrections,
    dior_rsvg,
    dota,
    dota_example,
    dubai_landcover,
    folders,
    gsi_japan,
    isprs,
    levir_cc,
    llava,
    loveda,
    neon_trees,
    nwpu_vhr10,
    oscd,
    pairs,
    planes_planetscope,
    rsicd,
    rsvqa,
    sztaki_airchange,
    urban_trees_naip,
    vegas_road,
    voc,
    vrsbench,
    xbd,
    yolo,
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

PUBLISHED: dict[str, Source] = {
    source.name: source
    for source in (
        folders.AID,
        folders.UCMERCED,
        folders.RESISC45,
        rsicd.SOURCE,
        rsicd.UCM_CAPTIONS,
        rsvqa.LOW,
        rsvqa.HIGH,
        vrsbench.SOURCE,
        dior_rsvg.SOURCE,
        voc.DIOR,
        dota.SOURCE,
        loveda.SOURCE,
        isprs.POTSDAM,
        isprs.VAIHINGEN,
        pairs.LEVIR_CD,
        oscd.PUBLISHED,
        xbd.SOURCE,
        levir_cc.SOURCE,
    )
}

FORMATS: dict[str, Source] = {
    source.name: source
    for source in (
        corrections.FORMAT,
        folders.FORMAT,
        coco.FORMAT,
        yolo.FORMAT,
        voc.FORMAT,
        dota.FORMAT,
        pairs.FORMAT,
        llava.FORMAT,
    )
}

REGISTRY = SOURCES | PUBLISHED | FORMATS
