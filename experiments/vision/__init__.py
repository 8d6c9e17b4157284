"""Pictures and videos: decoding, the demo clips, and frozen encoders of them."""
