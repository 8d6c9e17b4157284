"""Pictures, videos and depth: decoding, frozen encoders of them, and trunks that are trained."""
