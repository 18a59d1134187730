"""Which networks describe a patch, and how they and their weights are loaded."""
