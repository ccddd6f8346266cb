"""Masks: what their values, colors or polygons mean, and how they become class ids."""
