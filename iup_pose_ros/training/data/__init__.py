"""Clusters, batches and streams of training data."""
