"""Lists of videos from annotation files as they are published, or from class folders."""
