"""A job that is damaged at a random moment; see ``__main__``."""
