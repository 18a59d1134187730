"""Images and where they come from: files, layouts, datasets by name, and their faults."""
