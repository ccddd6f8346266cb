"""Figures of trained runs: predictions side by side, agents and their activation, contours, pseudo-labels."""
