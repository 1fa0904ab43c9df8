"""Whole scenes: georeferenced rasters of any size become saliency maps, polygons and a quick look."""
