"""Which class a picture is of, or which classes it has."""
