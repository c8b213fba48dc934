"""Downloads of competition data from Kaggle."""
