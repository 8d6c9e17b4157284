"""Pictures and videos: decoding, the demo clips, and a frozen encoder of frames."""
