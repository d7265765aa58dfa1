"""The management API over HTTP: the Svix v1 wire form of the use cases in `control`."""
