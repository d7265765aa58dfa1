"""The actions of Seller Center's API, one module per group."""
