"""Two images in, one relative pose with covariance out."""
