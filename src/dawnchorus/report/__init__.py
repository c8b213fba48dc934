"""Reports for people: pictures, HTML pages, and measurements in one form."""
