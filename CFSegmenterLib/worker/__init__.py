"""The worker: one long-lived process that holds a model and encodings, spoken to over its standard streams."""
