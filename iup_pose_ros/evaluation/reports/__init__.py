"""Reports on runs: console, JSON, CSV, HTML and plots."""
