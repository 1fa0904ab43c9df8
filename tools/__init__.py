"""Commands and studies that stand on the packages; no package imports them."""
