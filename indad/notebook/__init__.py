"""What notebooks show, and what is clicked in them."""
