"""Scores, each formula with its source; numpy, with shapely for polygons and pycocotools for COCO's mAP."""
