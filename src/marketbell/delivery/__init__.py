"""The data plane: what next, who next, which addresses, one exchange, and the loop over it all."""
