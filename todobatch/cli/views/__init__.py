"""Turns the results of commands into text and JSON."""
