"""Readers of public data sets in their original file layouts, as image pairs with known relative pose."""
