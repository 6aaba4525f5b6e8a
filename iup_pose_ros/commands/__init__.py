"""Subcommands of `iup-pose`, one module per group; cli.py registers them."""
