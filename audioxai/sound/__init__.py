"""Samples and spectra: read and written, resampled, transformed; the front ends of networks."""
