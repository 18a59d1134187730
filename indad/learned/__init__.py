"""What a model learns, as one record: made, grown, planned, saved and loaded, and as a module."""
