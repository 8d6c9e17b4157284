"""Embeddings of video files: from a list of videos to the folder that training reads."""
