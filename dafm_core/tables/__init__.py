"""Tables as values, and as HTML: made by whoever has numbers, drawn by ``reporting``."""
