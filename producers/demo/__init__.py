"""`consilium demo`: one story on real services and simulated models, on the terminal and as a page."""
