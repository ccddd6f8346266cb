"""Data sets: public ones, your own folders, and arrays, as lists of samples."""
