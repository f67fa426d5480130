"""What a pass through the model leaves for metrics to read: one file for each kind of site."""
