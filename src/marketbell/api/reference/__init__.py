"""The reference of the management API, made from its operations: a document and a page."""
