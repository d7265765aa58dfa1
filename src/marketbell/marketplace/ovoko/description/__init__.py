"""Ovoko's API described as an OpenAPI document: its paths, its forms and its answers."""
