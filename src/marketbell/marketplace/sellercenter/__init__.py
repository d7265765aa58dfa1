"""Seller Center, the marketplace that Falabella and Linio run: its life cycles and its Action API."""
