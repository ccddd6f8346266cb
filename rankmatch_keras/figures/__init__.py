"""Figures of trained runs: predictions side by side, outlines, agents and their activation, pseudo-labels."""
