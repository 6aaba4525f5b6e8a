"""Losses, and what is needed to train the network."""
