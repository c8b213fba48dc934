"""For people: pictures, and measurements in one form."""
