"""Measurements and events → pictures and reports. Nothing here loads torch: a results file explains itself."""
