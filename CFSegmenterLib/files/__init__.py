"""Images in, segmentations out: every file of patient data or results passes through here."""
