"""Data of competitions, downloaded from Kaggle."""
