"""Reports on runs: terminal, JSON, CSV, HTML and plots."""
