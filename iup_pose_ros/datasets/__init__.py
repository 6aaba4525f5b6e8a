"""Public data sets in their published layouts, as pairs of images with known relative pose."""
