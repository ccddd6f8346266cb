"""Segmentation of images with a trained model, and what people do with the result: measures, outlines, maps."""
