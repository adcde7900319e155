"""Code that runs inside a measured interpreter. It imports only the standard library and psutil."""
