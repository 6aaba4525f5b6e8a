"""The IUP-Pose network (arXiv 2603.19625): two calibrated images in, a relative pose with sigmas out."""
