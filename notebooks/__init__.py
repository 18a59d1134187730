"""The course: sources, exercises and the builder of the notebooks."""
