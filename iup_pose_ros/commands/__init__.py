"""The sub-commands of `iup-pose`, a module for each group; cli.py puts them together."""
