"""Stand-in, see the folder's tests."""
