"""The doctor: is all as it should be, and if not, what is to be done."""
