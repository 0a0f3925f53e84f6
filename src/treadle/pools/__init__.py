"""Places where code runs, and the pools made of them."""
