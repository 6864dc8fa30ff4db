"""The version of the factory."""

VERSION = "0.1.0"
