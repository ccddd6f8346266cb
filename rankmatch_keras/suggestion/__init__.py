"""Suggestion of the images to label next, with annotations to correct."""
