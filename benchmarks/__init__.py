"""How fast Marketbell is, as ratios to what the load client alone can do on the same machine."""
