"""Relative pose by the network IUP-Pose."""
