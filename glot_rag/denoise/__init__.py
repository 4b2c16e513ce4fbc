"""Which tokens are noise, and documents without them."""
